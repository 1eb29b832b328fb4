//! From files to configs: reading within limits, variables, relative paths, the jobs of further files.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::error::{ConfigError, Problem};
use crate::global::{GlobalConfig, LogLevel};
use crate::storage::RetentionConfig;
use crate::yaml::node::FILE_BYTES_MAX;
use crate::yaml::{Decode, Decoder, Node};

/// Looks up an environment variable.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What loading depends on besides the file.
#[derive(Clone)]
pub struct LoadOptions {
    /// Agent mode: `alerting`, `rule_files` and `remote_read` are refused.
    pub agent: bool,
    /// Values of `global` where it leaves them out. Feature flags change `scrape_protocols`,
    /// `scrape_native_histograms` and `extra_scrape_metrics` here.
    pub global_defaults: GlobalConfig,
    /// Variables for `external_labels` and GOGC.
    pub env: Env,
    /// Retention where `storage.tsdb.retention` is not given: that of the flags.
    pub retention: RetentionConfig,
    /// Level where `runtime.log_level` is not given: that of the flags.
    pub log_level: LogLevel,
    /// Accept discovery mechanisms that are recognised but not built (for tools that only print).
    pub unbuilt_discovery: bool,
}

impl Default for LoadOptions {
    /// Server mode, upstream's defaults, the process's environment.
    fn default() -> Self {
        LoadOptions {
            agent: false,
            global_defaults: GlobalConfig::default(),
            env: Arc::new(|name| std::env::var(name).ok()),
            retention: RetentionConfig::default(),
            log_level: LogLevel::Info,
            unbuilt_discovery: false,
        }
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("agent", &self.agent)
            .field("unbuilt_discovery", &self.unbuilt_discovery)
            .finish_non_exhaustive()
    }
}

/// Reads a file as UTF-8 (or UTF-16 with a mark), at most [`FILE_BYTES_MAX`] bytes.
///
/// # Errors
/// Those of the system, a larger file, other bytes.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let file = path.display().to_string();
    let failed = |source| ConfigError::Read { file: file.clone(), source };
    let reader = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    let invalid = |text: String| ConfigError::Invalid {
        file: file.clone(),
        problems: vec![Problem { line: 0, column: 0, text }],
    };
    if read as u64 > FILE_BYTES_MAX {
        return Err(invalid(format!("larger than {} MiB, the most that is read", FILE_BYTES_MAX >> 20)));
    }
    decode_bytes(bytes).map_err(invalid)
}

fn decode_bytes(bytes: Vec<u8>) -> Result<String, String> {
    let units = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect();
        String::from_utf16(&units).map_err(|_| "not valid UTF-16".to_string())
    };
    match bytes.as_slice() {
        [0xff, 0xfe, ..] => return units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => return units(u16::from_be_bytes),
        _ => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
            Err(format!("not valid UTF-8 (line {line}, byte {at})"))
        }
    }
}

/// Reads a document strictly over a prepared value. All problems come at once, in order.
pub(crate) fn decode_text<T: Decode>(
    text: &str,
    mut value: T,
    cx: &mut Decoder,
    check: impl FnOnce(&mut T, Option<&Node>, &mut Decoder),
) -> Option<T> {
    let node = match Node::parse(text) {
        Ok(node) => node,
        Err(problem) => {
            cx.note(problem);
            return None;
        }
    };
    if let Some(node) = &node {
        cx.decode(node, &mut value);
    }
    if cx.found() == 0 {
        check(&mut value, node.as_ref(), cx);
    }
    (cx.found() == 0).then_some(value)
}

/// Replaces `$name` and `${name}` by variables and `$$` by `$`, as Go's `os.Expand` does.
pub(crate) fn expand(text: &str, look_up: &mut dyn FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let (name, used) = variable(tail);
        match name {
            // "$" at the end, or before what is no name: stays.
            None if used == 0 => out.push('$'),
            // Malformed braces are eaten.
            None => {}
            Some("$") => out.push('$'),
            Some(name) => out.push_str(&look_up(name)),
        }
        rest = &tail[used..];
    }
    out.push_str(rest);
    out
}

/// Name behind a `$` and the bytes it takes. Special names are one character long.
fn variable(tail: &str) -> (Option<&str>, usize) {
    let special = |c: char| matches!(c, '*' | '#' | '$' | '@' | '!' | '?' | '-' | '0'..='9');
    if let Some(inner) = tail.strip_prefix('{') {
        let Some(end) = inner.find('}') else { return (None, 1) };
        return match &inner[..end] {
            "" => (None, 2),
            name => (Some(name), end + 2),
        };
    }
    match tail.chars().next() {
        Some(c) if special(c) => (tail.get(..1), 1),
        _ => match tail.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count() {
            0 => (None, 0),
            len => (tail.get(..len), len),
        },
    }
}

/// Names already taken, with the place of the first one.
pub(crate) type Taken = HashMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_like_go() {
        let mut look_up = |name: &str| if name == "A" { "x".to_string() } else { format!("<{name}>") };
        for (text, want) in [
            ("a$A.b", "ax.b"),
            ("${A}b", "xb"),
            ("$$A", "$A"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("$A_b", "<A_b>"),
            ("${}x", "x"),
            ("${A", "A"),
            ("$1a", "<1>a"),
            ("${A-b}", "<A-b>"),
        ] {
            assert_eq!(expand(text, &mut look_up), want, "{text}");
        }
    }

    #[test]
    fn bytes_of_all_kinds() {
        assert_eq!(decode_bytes(b"\xef\xbb\xbfa: b".to_vec()).unwrap(), "a: b");
        assert_eq!(decode_bytes(b"\xff\xfea\0:\0".to_vec()).unwrap(), "a:");
        assert!(decode_bytes(b"a\n\xff".to_vec()).unwrap_err().contains("line 2"));
    }
}
