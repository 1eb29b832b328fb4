//! Findings, and how they are printed: a table for people, JSON for scripts.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, but has a risk.
    Warning,
    /// Does not work, or loses data.
    Bad,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Bad => "bad",
        }
    }
    fn colour(self) -> u8 {
        match self {
            Status::Ok => 32,
            Status::Warning => 33,
            Status::Bad => 31,
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How bad it is.
    pub status: Status,
    /// What was looked at.
    pub subject: &'static str,
    /// What was found.
    pub what: String,
    /// How to mend it; empty where nothing is to be done.
    pub remedy: String,
    /// Numbers for scripts, where there are any.
    pub detail: Option<serde_json::Value>,
}

/// All findings, in the order of the checks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn ok(&mut self, subject: &'static str, what: impl Into<String>) {
        self.push(Status::Ok, subject, what.into(), String::new());
    }
    pub(super) fn warn(&mut self, subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(Status::Warning, subject, what.into(), remedy.into());
    }
    pub(super) fn bad(&mut self, subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(Status::Bad, subject, what.into(), remedy.into());
    }
    /// A hole in the data, with its numbers.
    pub(super) fn hole(&mut self, status: Status, what: String, remedy: String, detail: serde_json::Value) {
        self.findings.push(Finding { status, subject: "hole", what, remedy, detail: Some(detail) });
    }
    fn push(&mut self, status: Status, subject: &'static str, what: String, remedy: String) {
        self.findings.push(Finding { status, subject, what, remedy, detail: None });
    }

    /// Whether anything is worse than a warning.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.findings.iter().any(|f| f.status == Status::Bad)
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let colour = std::io::stdout().is_terminal();
        let width = self.findings.iter().map(|f| f.subject.len()).max().unwrap_or(0);
        let mut text = String::new();
        for f in &self.findings {
            let word = f.status.word();
            let padded = format!("{word:<7}");
            let shown = if colour { format!("\x1b[{}m{padded}\x1b[0m", f.status.colour()) } else { padded };
            let _ = writeln!(text, "{shown}  {:<width$}  {}", f.subject, f.what);
            if !f.remedy.is_empty() {
                let _ = writeln!(text, "{:7}  {:<width$}  -> {}", "", "", f.remedy);
            }
        }
        let count = |s: Status| self.findings.iter().filter(|f| f.status == s).count();
        let (ok, warnings, bad) = (count(Status::Ok), count(Status::Warning), count(Status::Bad));
        let _ = writeln!(text, "{ok} ok, {warnings} warnings, {bad} bad");
        text
    }

    /// For scripts: `{"ok": bool, "findings": [{"status", "subject", "what", "remedy", "hole"}]}`; `hole` where it is one.
    #[must_use]
    pub fn to_json(&self) -> String {
        let finding = |f: &Finding| {
            let mut shown = serde_json::json!({
                "status": f.status.word(), "subject": f.subject, "what": f.what, "remedy": f.remedy,
            });
            if let Some(detail) = &f.detail {
                shown["hole"] = detail.clone();
            }
            shown
        };
        let findings: Vec<_> = self.findings.iter().map(finding).collect();
        serde_json::json!({"ok": !self.is_bad(), "findings": findings}).to_string()
    }
}
