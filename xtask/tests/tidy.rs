//! The project keeps its own rules.

use xtask::{edges, files, licences};

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    none(edges::violations().unwrap());
}

#[test]
fn every_file_says_why_it_exists() {
    none(files::without_reason().unwrap());
}

#[test]
fn no_file_is_oversized() {
    none(files::oversized().unwrap());
}

#[test]
fn licences_are_on_the_list() {
    none(licences::violations().unwrap());
}

#[test]
fn licence_expressions_are_read_right() {
    for good in [
        "MIT",
        "MIT OR GPL-3.0",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 AND ISC",
    ] {
        assert!(licences::is_allowed(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MPL-2.0", "MIT AND GPL-2.0", "(GPL-2.0 OR LGPL-3.0) AND MIT", "(MIT"] {
        assert!(!licences::is_allowed(bad), "{bad}");
    }
}
