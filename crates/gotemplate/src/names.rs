//! Texts of labels: titles, and hosts with ports.

use std::net::IpAddr;

/// The first letter of each word in upper case, the others as they are (`cases.Title` with `NoLower`). Words
/// go on over digits, underscores and a single `'`, `.` or `:` between letters. Upper case is Go's simple
/// mapping, so `ß` stays.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Whether a word's first letter has been; whether the character before was a letter.
    let (mut inside, mut letter) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphabetic() {
            if inside {
                out.push(c);
            } else if c == 'ß' {
                out.push_str("Ss");
            } else if matches!(c, 'ǆ' | 'Ǆ') {
                out.push('ǅ');
            } else {
                out.push_str(&goregex::unicode::to_upper(c.encode_utf8(&mut [0; 4])));
            }
            (inside, letter) = (true, true);
            continue;
        }
        out.push(c);
        let joins = matches!(c, '\'' | '.' | ':') && letter;
        let next_is_letter = chars.peek().is_some_and(|n| n.is_alphabetic());
        inside = inside && (c == '_' || c.is_numeric() || joins && next_is_letter);
        letter = false;
    }
    out
}

/// `net.SplitHostPort`.
fn split(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let (host, port) = (text.get(..colon)?, text.get(colon + 1..)?);
    let (host, rest) = match text.strip_prefix('[') {
        Some(body) => {
            let end = body.find(']')?;
            // The colon stands right behind the bracket.
            if end + 2 != colon {
                return None;
            }
            (body.get(..end)?, body.get(end + 1..)?)
        }
        None if host.contains(':') => return None,
        None => (host, text),
    };
    let inner = if text.starts_with('[') { host.contains('[') } else { text.contains('[') };
    (!inner && !rest.contains(']')).then_some((host, port))
}

pub(crate) fn strip_port(text: &str) -> String {
    split(text).map_or(text, |(host, _)| host).to_string()
}

pub(crate) fn strip_domain(text: &str) -> String {
    let (host, port) = split(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_string();
    }
    let host = host.split('.').next().unwrap_or("");
    match port {
        "" => host.to_string(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}
