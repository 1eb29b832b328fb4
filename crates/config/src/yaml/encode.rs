//! From values to a tree to print.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::Secret;

/// What is printed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Out {
    Null,
    /// Printed as it is: numbers, booleans.
    Raw(String),
    /// Quoted where it has to be.
    Text(String),
    Seq {
        items: Vec<Out>,
        flow: bool,
    },
    Map(Vec<(String, Out)>),
    /// Becomes a tree when its turn comes: that of twenty thousand jobs at once would be ten times their text.
    Later(Later),
}

/// A value that is not a tree yet.
#[derive(Clone)]
pub(crate) struct Later(pub(crate) Arc<dyn Encode>);

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.encode().fmt(f)
    }
}

impl PartialEq for Later {
    fn eq(&self, other: &Later) -> bool {
        self.0.encode() == other.0.encode()
    }
}

impl Out {
    pub(crate) fn flow(self) -> Self {
        match self {
            Out::Seq { items, .. } => Out::Seq { items, flow: true },
            other => other,
        }
    }
}

/// Prints a value.
pub(crate) trait Encode {
    fn encode(&self) -> Out;
    /// What `omitempty` leaves out.
    fn is_zero(&self) -> bool;
}

impl Encode for String {
    fn encode(&self) -> Out {
        Out::Text(self.clone())
    }
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl Encode for Secret {
    fn encode(&self) -> Out {
        if self.is_empty() { Out::Null } else { Out::Text("<secret>".to_string()) }
    }
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl Encode for bool {
    fn encode(&self) -> Out {
        Out::Raw(self.to_string())
    }
    fn is_zero(&self) -> bool {
        !self
    }
}

impl Encode for i64 {
    fn encode(&self) -> Out {
        Out::Raw(self.to_string())
    }
    fn is_zero(&self) -> bool {
        *self == 0
    }
}

impl Encode for u64 {
    fn encode(&self) -> Out {
        Out::Raw(self.to_string())
    }
    fn is_zero(&self) -> bool {
        *self == 0
    }
}

impl Encode for f64 {
    fn encode(&self) -> Out {
        Out::Raw(float_text(*self))
    }
    fn is_zero(&self) -> bool {
        *self == 0.0
    }
}

/// Go's `FormatFloat(v, 'g', -1, 64)`: exponent form below 1e-4 and from 1e21.
fn float_text(v: f64) -> String {
    if v.is_nan() {
        return ".nan".to_string();
    }
    if v.is_infinite() {
        return if v > 0.0 { ".inf" } else { "-.inf" }.to_string();
    }
    if v == 0.0 || (1e-4..1e21).contains(&v.abs()) {
        return v.to_string();
    }
    let text = format!("{v:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

impl Encode for Duration {
    fn encode(&self) -> Out {
        Out::Text(model::duration::format(*self))
    }
    fn is_zero(&self) -> bool {
        Duration::is_zero(self)
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self) -> Out {
        Out::Seq { items: self.iter().map(Encode::encode).collect(), flow: false }
    }
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Encode> Encode for Arc<T> {
    fn encode(&self) -> Out {
        T::encode(self)
    }
    fn is_zero(&self) -> bool {
        T::is_zero(self)
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self) -> Out {
        self.as_ref().map_or(Out::Null, Encode::encode)
    }
    fn is_zero(&self) -> bool {
        self.is_none()
    }
}

impl<T: Encode> Encode for BTreeMap<String, T> {
    fn encode(&self) -> Out {
        let mut pairs: Vec<_> = self.iter().map(|(k, v)| (k.clone(), v.encode())).collect();
        pairs.sort_by(|a, b| key_order(&a.0, &b.0));
        Out::Map(pairs)
    }
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

/// go-yaml's order of keys: letters after other characters, runs of digits by their value.
fn key_order(a: &str, b: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Inside a number that began before (not with zeros only), more digits make it larger.
    let mut start = 0_i64;
    if x == '0' || y == '0' {
        let run = a[..at].iter().rev().take_while(|c| c.is_ascii_digit());
        start = i64::from(run.into_iter().any(|c| *c != '0'));
    }
    let digits = |s: &[char]| {
        let run: Vec<char> = s[at..].iter().copied().take_while(char::is_ascii_digit).collect();
        let value = run
            .iter()
            .fold(start, |n, c| n.wrapping_mul(10).wrapping_add(i64::from(c.to_digit(10).unwrap_or(0))));
        (value, run.len())
    };
    digits(&a).cmp(&digits(&b)).then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_go_yamls_order() {
        let mut keys = ["b", "a10", "a2", "_a", "1", "10", "2", "A", "a-b", "aa"];
        keys.sort_by(|a, b| key_order(a, b));
        assert_eq!(keys, ["_a", "1", "2", "10", "A", "a-b", "a2", "a10", "aa", "b"]);
    }

    #[test]
    fn floats_as_go_prints_them() {
        for (v, want) in [
            (0.5, "0.5"),
            (1.0, "1"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (0.00001, "1e-05"),
            (1.1, "1.1"),
        ] {
            assert_eq!(float_text(v), want);
        }
    }
}
