//! Whether anything that a reload would read has changed (upstream `config/reload.go`).

use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::error::ConfigError;
use crate::glob::glob;
use crate::http::join;
use crate::load::read_text;
use crate::yaml::Node;

/// A digest over the config file and the names and contents of the files that `rule_files` and
/// `scrape_config_files` match. Equal digests mean that a reload would read the same. It is 128 bits of a
/// hash that is quick and not made against attackers: who may write the config needs no collision.
///
/// A text that is not YAML has a digest too (of itself), so that mending it is a change.
///
/// # Errors
/// A file that cannot be read: try again later.
pub fn config_digest(path: &Path) -> Result<u128, ConfigError> {
    let mut hash = Xxh3::new();
    let text = read_text(path)?;
    hash.update(text.as_bytes());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(Some(node)) = Node::parse(&text) else { return Ok(hash.digest128()) };
    for (prefix, key) in [("r", "rule_files"), ("s", "scrape_config_files")] {
        for item in node.get(key).map_or(&[][..], Node::items) {
            let mut pattern = item.scalar_text().unwrap_or("").to_string();
            join(dir, &mut pattern);
            for file in glob(&pattern) {
                let contents = read_text(&file)?;
                let parts = [prefix, &file.display().to_string(), &contents];
                for part in parts {
                    hash.update(part.as_bytes());
                    hash.update(&[0]);
                }
            }
        }
    }
    Ok(hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let config = dir.path().join("p.yml");
        let mut seen = Vec::new();
        let mut step = |name: &str, text: &str| {
            write(name, text);
            let digest = config_digest(&config).unwrap();
            assert!(!seen.contains(&digest), "no change seen after writing {name}");
            seen.push(digest);
        };
        step("p.yml", "rule_files: ['r*.yml']\nscrape_config_files: [s.yml]\n");
        step("r1.yml", "groups: []\n");
        step("r2.yml", "groups: []\n");
        step("r2.yml", "groups: []\n\n");
        step("s.yml", "scrape_configs: []\n");
        step("p.yml", "rule_files: [");
        write("p.yml", "rule_files: ['r*.yml']\nscrape_config_files: [s.yml]\n");
        assert_eq!(config_digest(&config).unwrap(), seen[4]);
        assert!(config_digest(&dir.path().join("none.yml")).is_err());
    }
}
