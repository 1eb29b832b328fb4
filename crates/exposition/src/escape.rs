//! Escaping schemes for names outside the legacy character set, as negotiated by the `escaping` parameter
//! (upstream: `common/model/metric.go`).

use std::fmt::Write as _;

use model::name::is_legacy_metric_name;

/// What to do with names that are not legacy names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EscapingScheme {
    /// `allow-utf-8`: nothing, they are quoted.
    #[default]
    AllowUtf8,
    /// `underscores`: each such character becomes `_`.
    Underscores,
    /// `dots`: `.` becomes `_dot_`, `_` becomes `__`, others become `__`.
    Dots,
    /// `values`: `U__` in front, each such character becomes `_hex_`.
    Values,
}

impl EscapingScheme {
    /// Name in headers and in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EscapingScheme::AllowUtf8 => "allow-utf-8",
            EscapingScheme::Underscores => "underscores",
            EscapingScheme::Dots => "dots",
            EscapingScheme::Values => "values",
        }
    }

    /// From the name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        use EscapingScheme::{AllowUtf8, Dots, Underscores, Values};
        [AllowUtf8, Underscores, Dots, Values].into_iter().find(|s| s.as_str() == name)
    }

    /// Escapes a metric or label name. Does not check it.
    #[must_use]
    pub fn escape(self, name: &str) -> String {
        let unchanged = match self {
            EscapingScheme::AllowUtf8 => true,
            // Dots escapes underscores of legacy names too.
            EscapingScheme::Dots => name.is_empty(),
            EscapingScheme::Underscores | EscapingScheme::Values => {
                name.is_empty() || is_legacy_metric_name(name)
            }
        };
        if unchanged {
            return name.to_string();
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == EscapingScheme::Values {
            out.push_str("U__");
        }
        for (i, c) in name.char_indices() {
            let legacy =
                c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && i > 0);
            match (self, c) {
                (EscapingScheme::Dots | EscapingScheme::Values, '_') => out.push_str("__"),
                (EscapingScheme::Dots, '.') => out.push_str("_dot_"),
                _ if legacy => out.push(c),
                (EscapingScheme::Dots, _) => out.push_str("__"),
                (EscapingScheme::Values, c) => {
                    let _ = write!(out, "_{:x}_", c as u32);
                }
                _ => out.push('_'),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_like_upstream() {
        let all = |name: &str| {
            [EscapingScheme::Underscores, EscapingScheme::Dots, EscapingScheme::Values].map(|s| s.escape(name))
        };
        assert_eq!(all(""), ["", "", ""]);
        assert_eq!(
            all("no:escaping_required"),
            ["no:escaping_required", "no:escaping__required", "no:escaping_required"]
        );
        assert_eq!(
            all("mysystem.prod.west.cpu.load"),
            [
                "mysystem_prod_west_cpu_load",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load"
            ]
        );
        assert_eq!(
            all("http.status:sum"),
            ["http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum"]
        );
        assert_eq!(all("0a"), ["_a", "__a", "U___30_a"]);
        assert_eq!(all("花火"), ["__", "____", "U___82b1__706b_"]);
    }
}
