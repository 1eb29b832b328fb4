//! Which crate may use which: the table in ARCHITECTURE.md is the rule, the manifests must obey it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::metadata::{list, read, root, text};

const BEGIN: &str = "<!-- arrows -->";

/// Allowed edges by crate. A crate that lists `*` may use all.
///
/// # Errors
/// ARCHITECTURE.md is missing or has no table.
pub fn allowed() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let (_, rest) = page.split_once(BEGIN).context("ARCHITECTURE.md has no <!-- arrows --> table")?;
    let block = rest.split("```").nth(1).context("no ``` block after <!-- arrows -->")?;
    let row = |line: &str| {
        let (name, uses) = line.split_once(':')?;
        Some((name.trim().to_string(), uses.split_whitespace().map(str::to_string).collect()))
    };
    Ok(block.lines().filter_map(row).collect())
}

/// Each edge between our own crates that the table does not allow, and each crate that it does not list.
///
/// # Errors
/// As [`allowed`] and cargo's own.
pub fn violations() -> Result<Vec<String>> {
    let (allowed, metadata) = (allowed()?, read(false)?);
    let packages = list(&metadata, "packages");
    let own: BTreeSet<&str> = packages.iter().map(|p| text(p, "name")).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = text(package, "name");
        let Some(uses) = allowed.get(name) else {
            found.push(format!("crate {name} is not in ARCHITECTURE.md's table of arrows"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let (used, kind) = (text(dependency, "name"), text(dependency, "kind"));
            let exempt = !own.contains(used) || kind == "dev";
            if !exempt && !uses.contains(used) && !uses.contains("*") {
                found.push(format!("{name} uses {used}, which ARCHITECTURE.md does not allow"));
            }
        }
    }
    Ok(found)
}
