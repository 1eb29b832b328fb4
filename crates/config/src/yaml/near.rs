//! "did you mean": the nearest of the valid names.

/// The valid name nearest to `name`, if it is near enough to be a likely slip.
pub fn nearest<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long names cost quadratic time and are no slips.
    if name.is_empty() || name.len() > 100 {
        return None;
    }
    let limit = 1 + name.chars().count() / 4;
    let plain = |s: &str| s.to_ascii_lowercase().replace(['-', '.', ' '], "_");
    let wanted = plain(name);
    valid
        .into_iter()
        .map(|candidate| (distance(&wanted, &plain(candidate)), candidate))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, change, swap of neighbours) from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut before = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, y) in b.iter().enumerate() {
            let change = last[j] + usize::from(x != y);
            row[j + 1] = change.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let valid = ["scrape_interval", "scrape_timeout", "job_name", "static_configs", "relabel_configs"];
        assert_eq!(nearest("scrape_intervall", valid), Some("scrape_interval"));
        assert_eq!(nearest("scrape-interval", valid), Some("scrape_interval"));
        assert_eq!(nearest("static_config", valid), Some("static_configs"));
        assert_eq!(nearest("jbo_name", valid), Some("job_name"));
        assert_eq!(nearest("bananas", valid), None);
        assert_eq!(nearest(&"x".repeat(10_000), valid), None);
    }
}
