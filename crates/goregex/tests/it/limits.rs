//! Hostile patterns: bounded in stack, time and memory, and refused in Go's words where Go refuses.

use std::time::{Duration, Instant};

use goregex::{ErrorKind, Regex};
use proptest::prelude::*;

#[test]
fn nesting_is_bounded_as_in_go() {
    let nested = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    assert!(Regex::wrapped(&nested(900)).unwrap().is_match("a"));
    assert_eq!(Regex::anchored(&nested(1000)).unwrap_err().kind, ErrorKind::NestingDepth);
    assert_eq!(Regex::anchored(&nested(100_000)).unwrap_err().kind, ErrorKind::NestingDepth);
    let loose = format!("{}a{}", "(?:".repeat(100_000), ")".repeat(100_000));
    assert!(Regex::anchored(&loose).unwrap().is_match("a"));
    assert_eq!(Regex::anchored(&"(".repeat(100_000)).unwrap_err().kind, ErrorKind::MissingParen);
    let stars = format!("{}a{}", "(?:".repeat(2000), ")*".repeat(2000));
    assert_eq!(Regex::anchored(&stars).unwrap_err().kind, ErrorKind::NestingDepth);
}

#[test]
fn size_is_bounded() {
    let text = "a".repeat(4000);
    assert_eq!(Regex::anchored(&format!("(?:{text}){{1000}}")).unwrap_err().kind, ErrorKind::Large);
    assert_eq!(Regex::anchored(&"\\pL".repeat(20_000)).unwrap_err().kind, ErrorKind::Large);
}

#[test]
fn errors_of_the_wrapped_form_cite_the_wrapped_text() {
    let e = Regex::wrapped("(a").unwrap_err().to_string();
    assert_eq!(e, "error parsing regexp: missing closing ): `^(?s:(a)$`");
    let loose = Regex::wrapped("a)(b").unwrap();
    assert!(loose.is_match("ab"));
    assert!(Regex::anchored("a)(b").is_err());
    // Not anchored at both ends, so no shortcut may apply.
    let half = Regex::wrapped("a)|(b").unwrap();
    assert!(half.is_match("axx") && half.is_match("xxb") && half.prefix().is_empty());
}

#[test]
fn compiling_and_matching_stay_quick() {
    let begin = Instant::now();
    for pattern in [
        "(a*)*b",
        "(a|aa)+$",
        "(.*)*x",
        "(a?){1000}a{1000}",
        "\\w{300}",
        ".{1000}",
        "(?:\\pL{10}){10}",
        ".*.*.*=.*",
    ] {
        let re = Regex::anchored(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        let _ = re.is_match(&"a".repeat(20_000));
    }
    // Seconds in a debug build on a loaded machine; a backtracker would need years.
    assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", begin.elapsed());
}

#[test]
fn long_lists_are_sets() {
    let names: Vec<String> = (0..5000).map(|i| format!("pod-{i}")).collect();
    let re = Regex::anchored(&names.join("|")).unwrap();
    assert_eq!(re.set_matches().unwrap().len(), 5000);
    assert!(re.is_match("pod-4999") && !re.is_match("pod-5000") && re.prefix() == "pod-");
    assert!(Regex::anchored("[0-9]{3}").unwrap().set_matches().is_none());
    assert_eq!(Regex::anchored("[0-9]{2}").unwrap().set_matches().unwrap().len(), 100);
    assert_eq!(Regex::anchored("node-(1|2)").unwrap().set_matches().unwrap(), ["node-1", "node-2"]);
    assert_eq!(Regex::anchored("(?i)ab").unwrap().set_matches().unwrap(), ["AB", "Ab", "aB", "ab"]);
    assert_eq!(Regex::anchored("foo").unwrap().literal(), Some("foo"));
    assert!(Regex::anchored("[^\\x00-\\x{10FFFF}]").unwrap().set_matches().unwrap().is_empty());
}

proptest! {
    #[test]
    fn never_panics(pattern in "\\PC{0,30}", text in "\\PC{0,10}") {
        for re in [Regex::anchored(&pattern), Regex::wrapped(&pattern), Regex::new(&pattern)].into_iter().flatten() {
            let _ = re.replace_all(&text, &pattern);
            prop_assert_eq!(re.is_match(&text), re.captures(&text).is_some());
        }
    }

    #[test]
    fn grammar_soup(parts in prop::collection::vec(prop::sample::select(vec![
        "(", ")", "(?:", "(?i)", "[", "]", "^", "$", "|", "*", "+", "?", "{2}", "{2,", "}", "\\", "\\p{L}", "\\pN", "\\Q", "\\E",
        "[:alpha:]", "-", "a", "é", "\\x{", "1", "\\b", ".", "(?P<n>", "(?-s:", "k", "\\d",
    ]), 0..12), text in "[ak1é\\n-]{0,6}") {
        let pattern = parts.concat();
        if let Ok(re) = Regex::anchored(&pattern) {
            let found = re.captures(&text).is_some();
            prop_assert_eq!(re.is_match(&text), found);
            if let Some(set) = re.set_matches() {
                prop_assert_eq!(set.contains(&text), found);
            }
            if found {
                prop_assert!(text.starts_with(re.prefix()));
            }
        }
    }
}
