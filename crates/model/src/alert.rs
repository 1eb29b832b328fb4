//! What rules hand to the notifier.

use crate::Labels;

/// One alert as Alertmanager is told of it (upstream: `notifier/alert.go`).
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What identifies it, `alertname` among them.
    pub labels: Labels,
    /// What people are told, by name. No `Labels`: an empty text is sent too, as upstream sends it.
    pub annotations: Vec<(String, String)>,
    /// Since when it fires, milliseconds since the Unix epoch.
    pub starts_at_ms: i64,
    /// When it ended, or until when it holds unless it is sent again.
    pub ends_at_ms: i64,
    /// Where its expression can be looked at.
    pub generator_url: String,
}
