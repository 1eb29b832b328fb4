//! Licences of everything that is linked in or run in tests, and crates that must not come in.

use anyhow::Result;

use crate::metadata::{list, read, text};

/// Licences that the project takes.
const ALLOWED: [&str; 12] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "BSL-1.0",
];

/// Crates that the tree must not contain, with the reason.
const BANNED: [(&str, &str); 4] = [
    ("openssl-sys", "TLS is rustls; OpenSSL would break the static image"),
    ("aws-lc-sys", "the TLS provider is ring; two providers in one process conflict"),
    ("serde_yaml", "archived, and without columns in its errors; crate config reads YAML on granit-parser"),
    ("chrono", "jiff is the one time library"),
];

/// Whether an SPDX expression can be satisfied with allowed licences alone.
#[must_use]
pub fn is_allowed(expression: &str) -> bool {
    // Old manifests write "MIT/Apache-2.0" for OR. AND binds tighter than OR; parentheses occur only around
    // OR groups joined by AND, e.g. "(MIT OR Apache-2.0) AND Unicode-3.0".
    let expression = expression.replace('/', " OR ");
    if let Some(open) = expression.find('(') {
        let Some(close) = expression[open..].find(')').map(|i| open + i) else { return false };
        let inner = if is_allowed(&expression[open + 1..close]) { "MIT" } else { "forbidden" };
        return is_allowed(&format!("{}{inner}{}", &expression[..open], &expression[close + 1..]));
    }
    let all = |part: &str| part.split(" AND ").all(|l| ALLOWED.contains(&l.trim()));
    expression.split(" OR ").any(all)
}

/// Packages of the resolved tree whose licence is outside the list, and banned ones.
///
/// # Errors
/// cargo's own.
pub fn violations() -> Result<Vec<String>> {
    let metadata = read(true)?;
    let mut found = Vec::new();
    for package in list(&metadata, "packages") {
        let (name, version, licence) =
            (text(package, "name"), text(package, "version"), text(package, "license"));
        if !is_allowed(licence) {
            found.push(format!("{name} {version} has licence {licence:?}, which is not on the list"));
        }
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            found.push(format!("{name} {version} is banned: {reason}"));
        }
    }
    Ok(found)
}
