//! From the label pairs of a request to a valid label set, with upstream's reasons for refusing one.

use std::borrow::Cow;

use model::Labels;
use model::labels::{METRIC_NAME, STRING_BYTES_MAX};

/// Why a label set is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No metric name, an empty or non-UTF-8 name, a non-UTF-8 or oversized value.
    Invalid(String),
    /// A name that occurs twice.
    Duplicate(String, String),
}

/// Sorts and checks; on success `pairs` is left sorted. Empty values mean absent labels and are dropped
/// after the check, as upstream's head does.
pub(crate) fn labels(pairs: &mut Vec<(&[u8], &[u8])>) -> Result<Labels, Refused> {
    // Senders sort already: this is a check then.
    if !pairs.is_sorted() {
        pairs.sort_unstable();
    }
    let named = pairs.iter().any(|(n, v)| *n == METRIC_NAME.as_bytes() && !v.is_empty());
    let mut text = Vec::with_capacity(pairs.len());
    for (n, v) in pairs.iter() {
        match (std::str::from_utf8(n), std::str::from_utf8(v)) {
            (Ok(n), Ok(v)) if !n.is_empty() && n.len() <= STRING_BYTES_MAX && v.len() <= STRING_BYTES_MAX => {
                text.push((n, v));
            }
            _ => return Err(Refused::Invalid(display(pairs))),
        }
    }
    if !named {
        return Err(Refused::Invalid(display(pairs)));
    }
    if let Some(twice) = text.windows(2).find(|w| w[0].0 == w[1].0) {
        return Err(Refused::Duplicate(display(pairs), twice[0].0.to_string()));
    }
    Ok(Labels::from_sorted(text.into_iter().filter(|(_, v)| !v.is_empty())))
}

/// Longest text of a label set in an error: a sender's log line, not its payload.
const DISPLAY_BYTES_MAX: usize = 4096;

/// A label set in upstream's notation, whatever its bytes.
pub(crate) fn display(pairs: &[(&[u8], &[u8])]) -> String {
    let mut out = String::from("{");
    for (i, (n, v)) in pairs.iter().enumerate() {
        if out.len() > DISPLAY_BYTES_MAX {
            out.push_str(", ...");
            break;
        }
        if i > 0 {
            out.push_str(", ");
        }
        let (n, v) = (lossy(n), lossy(v));
        if model::name::is_legacy_label_name(&n) {
            out.push_str(&n);
        } else {
            let _ = model::name::write_quoted(&mut out, &n);
        }
        out.push('=');
        // Writing to a String cannot fail.
        let _ = model::name::write_quoted(&mut out, &v);
    }
    out.push('}');
    out
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    let cut = bytes.get(..DISPLAY_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<String, Refused> {
        let mut pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        labels(&mut pairs).map(|l| l.to_string())
    }

    #[test]
    fn sets() {
        assert_eq!(
            check(&[("b", "1"), ("__name__", "up"), ("c", "")]),
            Ok(r#"{__name__="up", b="1"}"#.into())
        );
        assert_eq!(check(&[("a", "1")]), Err(Refused::Invalid(r#"{a="1"}"#.into())));
        assert_eq!(check(&[("__name__", "")]), Err(Refused::Invalid(r#"{__name__=""}"#.into())));
        assert_eq!(
            check(&[("__name__", "up"), ("", "x")]),
            Err(Refused::Invalid(r#"{""="x", __name__="up"}"#.into()))
        );
        assert_eq!(
            check(&[("__name__", "up"), ("a", "2"), ("a", "1")]),
            Err(Refused::Duplicate(r#"{__name__="up", a="1", a="2"}"#.into(), "a".into()))
        );
        let mut bad: Vec<(&[u8], &[u8])> = vec![(b"__name__", b"up"), (b"a", b"\xff")];
        assert!(labels(&mut bad).is_err());
        let huge = "x".repeat(STRING_BYTES_MAX + 1);
        assert!(check(&[("__name__", "up"), ("a", &huge)]).is_err());
    }
}
