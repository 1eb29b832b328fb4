//! Natural order of texts: runs of digits compare as numbers (`a2` before `a10`).

use std::cmp::Ordering;

/// Compares by chunks of digits and non-digits.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(x), Some(y)) = (a.first(), b.first()) else { return a.len().cmp(&b.len()) };
        let (dx, dy) = (x.is_ascii_digit(), y.is_ascii_digit());
        let run = |s: &[u8], digits: bool| s.iter().take_while(|c| c.is_ascii_digit() == digits).count();
        let (n, m) = (run(a, dx), run(b, dy));
        let (ca, cb) = (&a[..n], &b[..m]);
        let order = if dx && dy {
            let significant = |s: &'_ [u8]| s.iter().position(|c| *c != b'0').unwrap_or(s.len());
            let (sa, sb) = (&ca[significant(ca)..], &cb[significant(cb)..]);
            sa.len().cmp(&sb.len()).then_with(|| sa.cmp(sb)).then_with(|| ca.len().cmp(&cb.len()))
        } else {
            ca.cmp(cb)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[n..], &b[m..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_texts() {
        let mut v = vec!["cpu10", "cpu2", "cpu1", "cpu", "4.10", "4.9"];
        v.sort_by(|a, b| compare(a, b));
        assert_eq!(v, ["4.9", "4.10", "cpu", "cpu1", "cpu2", "cpu10"]);
    }
}
