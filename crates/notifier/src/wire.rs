//! The body of `POST /api/v2/alerts` (Alertmanager's `api/v2/openapi.yaml`, `postableAlerts`).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Alert;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Postable<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
    ends_at: String,
    starts_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
}

/// The alerts as JSON.
pub(crate) fn body(alerts: &[Arc<Alert>]) -> serde_json::Result<Vec<u8>> {
    let postable = alerts.iter().map(|a| Postable {
        annotations: a.annotations.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
        ends_at: date_time(a.ends_at_ms),
        starts_at: date_time(a.starts_at_ms),
        generator_url: &a.generator_url,
        labels: a.labels.iter().collect(),
    });
    serde_json::to_vec(&postable.collect::<Vec<_>>())
}

/// RFC 3339 with milliseconds, as upstream sends it. Times that RFC 3339 has no year for are at its ends.
fn date_time(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms);
    let at = at.unwrap_or(if ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX });
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    #[test]
    fn as_upstream_writes_it() {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "Down"), ("é", "\"<\u{1}")]),
            annotations: vec![("empty".into(), String::new())],
            starts_at_ms: 1_700_000_000_007,
            ends_at_ms: -1,
            generator_url: String::new(),
        };
        let text = String::from_utf8(body(&[Arc::new(alert)]).unwrap()).unwrap();
        assert_eq!(
            text,
            "[{\"annotations\":{\"empty\":\"\"},\"endsAt\":\"1969-12-31T23:59:59.999Z\",\"startsAt\":\"2023-11-14T22:13:20.007Z\",\
             \"labels\":{\"alertname\":\"Down\",\"é\":\"\\\"<\\u0001\"}}]"
        );
        assert_eq!(date_time(i64::MAX), "9999-12-30T22:00:00.999Z");
    }
}
