//! Names of functions: those of the language, and those that Prometheus adds.

/// The language's own.
pub const BUILTINS: &[&str] = &[
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print",
    "printf", "println", "slice", "urlquery",
];

/// Prometheus's (upstream: `template/template.go`).
pub const PROMETHEUS: &[&str] = &[
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "tmpl",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

/// Whether a template may call this function.
#[must_use]
pub fn is_known(name: &str) -> bool {
    BUILTINS.binary_search(&name).is_ok() || PROMETHEUS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_are_sorted() {
        assert!(BUILTINS.is_sorted() && PROMETHEUS.is_sorted());
        assert!(is_known("printf") && is_known("tmpl") && !is_known("print2"));
    }
}
