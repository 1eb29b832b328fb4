//! `godwit push metrics`: a page in the text format, sent by remote write (upstream: `cmd/promtool/metrics.go`,
//! `util/fmtutil`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use axum::http::Method;
use exposition::{Family, Format, Metric, MetricData};
use model::{LabelsBuilder, MetricMetadata, float_text::format_g};
use remote::encode::{OutSeries, metadata_v1, snappy, write_v1, write_v2};

use super::api::{Api, HEADER, HTTP_CONFIG};
use super::check::text_rules;
use super::flags::{Command, Found, any, required, valued};
use super::group::{Failed, Group, Run};

/// Largest page read: what `check metrics` takes.
const PAGE_BYTES_MAX: u64 = 256 << 20;
const V1: &str = "prometheus.WriteRequest";
const V2: &str = "io.prometheus.write.v2.Request";

/// All commands.
pub static GROUP: Group = Group { word: "push", about: "Send metrics to a server.", commands: COMMANDS };

const COMMANDS: &[(Command, Run)] = &[(
    Command {
        path: "metrics",
        help: "Send metrics pages by remote write, for tests. For example: godwit push metrics http://localhost:9090 page.prom",
        flags: &[
            valued("label", "NAME=VALUE", "job=promtool", "A label to add to all series; can be repeated."),
            valued("timeout", "DURATION", "30s", "Longest wait for an answer."),
            HEADER,
            HTTP_CONFIG,
            valued(
                "protobuf_message",
                V1,
                V1,
                "The message to send: this one, or io.prometheus.write.v2.Request.",
            ),
            valued(
                "remote-write.path",
                "PATH",
                "/api/v1/write",
                "Path of the receiver, where the URL does not end with it.",
            ),
        ],
        args: &[
            required("remote-write-url", "URL of the server or of its receiver."),
            any("metric-files", "The pages, in the text format; standard input without.").file(),
        ],
    },
    run,
)];

fn run(found: &Found) -> Result<u8, Failed> {
    let v2 = match found.text("protobuf_message") {
        V1 => false,
        V2 => true,
        other => {
            let text = format!("  FAILED: invalid protobuf message {other:?}, must be {V1} or {V2}");
            return Err(Failed::Work(text));
        }
    };
    let api = Api::new(found, found.arg(0))?;
    let path = found.text("remote-write.path");
    let path = if api.url("").ends_with(path) { "" } else { path };
    let labels = found.map("label").map_err(Failed::usage)?;
    let timeout = found.duration("timeout").map_err(Failed::usage)?.unwrap_or_default();
    let send = |page: &[u8]| push(&api, path, page, &labels, v2, timeout);
    let files = found.args_from(1);
    if files.is_empty() {
        let mut page = Vec::new();
        std::io::stdin().take(PAGE_BYTES_MAX).read_to_end(&mut page)?;
        println!("Parsing standard input");
        send(&page).map_err(|e| Failed::Work(format!("  FAILED: {e}")))?;
        println!("  SUCCESS: metrics pushed to remote write.");
        return Ok(0);
    }
    let mut code = 0;
    for file in files {
        let read = std::fs::read(file).map_err(|e| format!("open {file}: {e}"));
        let sent = read.and_then(|page| {
            println!("Parsing metrics file {file}");
            send(&page)
        });
        match sent {
            Ok(()) => println!("  SUCCESS: metrics file {file} pushed to remote write."),
            Err(e) => {
                eprintln!("  FAILED: {e}");
                code = 1;
            }
        }
    }
    Ok(code)
}

fn push(
    api: &Api,
    path: &str,
    page: &[u8],
    labels: &BTreeMap<String, String>,
    v2: bool,
    timeout: Duration,
) -> Result<(), String> {
    text_rules(page)?;
    let mut families = exposition::read_families(page, Format::Text).map_err(|e| e.to_string())?;
    families.sort_by(|a, b| a.name.cmp(&b.name));
    let now = jiff::Timestamp::now().as_millisecond();
    let series: Vec<OutSeries> =
        families.iter().flat_map(|f| f.metrics.iter().flat_map(|m| expand(f, m, labels, now))).collect();
    let message = if v2 {
        write_v2(&series)
    } else {
        let mut out = write_v1(&series);
        families.iter().for_each(|f| metadata_v1(&mut out, &f.name, &metadata(f)));
        out
    };
    let (kind, version) = if v2 {
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
    } else {
        ("application/x-protobuf", "0.1.0")
    };
    let headers = [
        ("Content-Encoding", "snappy"),
        ("Content-Type", kind),
        ("X-Prometheus-Remote-Write-Version", version),
    ];
    let reply =
        api.send(Method::POST, path, &headers, snappy(&message), timeout).map_err(|e| e.to_string())?;
    if reply.status / 100 == 2 {
        return Ok(());
    }
    Err(format!(
        "server returned HTTP status {}: {}",
        reply.status,
        String::from_utf8_lossy(&reply.body).trim_end()
    ))
}

fn metadata(family: &Family) -> MetricMetadata {
    MetricMetadata { kind: family.kind, help: family.help.clone(), unit: family.unit.clone() }
}

/// The series of a metric, each with its one sample.
fn expand(family: &Family, metric: &Metric, extra: &BTreeMap<String, String>, now_ms: i64) -> Vec<OutSeries> {
    let t = metric.timestamp_ms.filter(|t| *t != 0).unwrap_or(now_ms);
    let one = |suffix: &str, bound: Option<(&str, String)>, value: f64| {
        let mut builder = LabelsBuilder::new();
        for (name, value) in extra {
            builder.set(name, value);
        }
        for (name, value) in &metric.labels {
            // The job is the pusher's.
            builder.set(if name == "job" { "exported_job" } else { name }, value);
        }
        if let Some((name, value)) = bound {
            builder.set(name, &value);
        }
        builder.set("__name__", &format!("{}{suffix}", family.name));
        OutSeries {
            labels: builder.build(),
            samples: vec![(t, value)],
            metadata: metadata(family),
            ..OutSeries::default()
        }
    };
    match &metric.data {
        MetricData::Number(v) => vec![one("", None, *v)],
        MetricData::Summary { count, sum, quantiles } => {
            let each = quantiles.iter().map(|(q, v)| one("", Some(("quantile", format_g(*q))), *v));
            each.chain([one("_sum", None, *sum), one("_count", None, *count as f64)]).collect()
        }
        MetricData::Histogram { count, sum, buckets } => {
            let bucket = |le: f64, n: u64| one("_bucket", Some(("le", format_g(le))), n as f64);
            let each = buckets.iter().filter(|(le, _)| le.is_finite()).map(|(le, n)| bucket(*le, *n));
            each.chain([
                bucket(f64::INFINITY, *count),
                one("_sum", None, *sum),
                one("_count", None, *count as f64),
            ])
            .collect()
        }
        // The text format has none.
        MetricData::Native(_) => Vec::new(),
    }
}
