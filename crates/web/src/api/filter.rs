//! How well a text matches what was searched for: upstream's `web/api/v1/search_filters.go` and `util/strutil`,
//! whose scores are part of answers.

/// Longer values are matched only where they contain what is searched for: the others cost their square.
const SCORED_CHARS_MAX: usize = 8192;
/// A subsequence that is not the whole text never scores 1.
const NOT_EXACT: f64 = 0.999;

/// Terms of a search, any of which may match.
pub(super) struct Filter {
    terms: Vec<Term>,
    threshold: f64,
    winkler: bool,
    case_sensitive: bool,
}

struct Term {
    text: String,
    chars: Vec<char>,
}

impl Filter {
    /// `None` where there is nothing to search for. `threshold`: least score of what does not contain a term, 0
    /// to 1.
    pub(super) fn new(terms: &[&str], threshold: f64, winkler: bool, case_sensitive: bool) -> Option<Filter> {
        let terms: Vec<Term> = terms
            .iter()
            .filter(|t| !t.is_empty())
            .map(|t| {
                let text = if case_sensitive { (*t).to_string() } else { t.to_lowercase() };
                Term { chars: text.chars().collect(), text }
            })
            .collect();
        (!terms.is_empty()).then_some(Filter { terms, threshold, winkler, case_sensitive })
    }

    /// The best score of any term; `None` where none matches.
    pub(super) fn score(&self, value: &str) -> Option<f64> {
        let lower;
        let value = if self.case_sensitive {
            value
        } else {
            lower = value.to_lowercase();
            &lower
        };
        let chars: Vec<char> =
            if value.len() > SCORED_CHARS_MAX { Vec::new() } else { value.chars().collect() };
        let mut best = None::<f64>;
        for term in &self.terms {
            let score = if self.winkler {
                self.winkler(term, value, &chars)
            } else {
                self.subsequence(term, value, &chars)
            };
            if let Some(score) = score {
                best = Some(best.map_or(score, |b| b.max(score)));
                if score >= 1.0 {
                    break;
                }
            }
        }
        best
    }

    fn subsequence(&self, term: &Term, value: &str, chars: &[char]) -> Option<f64> {
        if value.starts_with(&term.text) {
            return Some(1.0);
        }
        if chars.is_empty() {
            return (value.len() > SCORED_CHARS_MAX).then(|| substring(term, value)).flatten();
        }
        let score = subsequence(&term.chars, chars);
        (score > 0.0 && score >= self.threshold).then_some(score)
    }

    fn winkler(&self, term: &Term, value: &str, chars: &[char]) -> Option<f64> {
        if let Some(score) = substring(term, value) {
            return Some(score);
        }
        if self.threshold <= 0.0 || value.len() > SCORED_CHARS_MAX || term.chars.len() > SCORED_CHARS_MAX {
            return None;
        }
        let score = if chars.is_empty() { 0.0 } else { jaro_winkler(&term.chars, chars) };
        (score >= self.threshold).then_some(score)
    }
}

/// 1 at the begin, down to 0.1 at the end.
fn substring(term: &Term, value: &str) -> Option<f64> {
    let at = value.find(&term.text)?;
    let before = value.get(..at)?.chars().count();
    let room = value.chars().count().saturating_sub(term.chars.len());
    Some(if at == 0 || room == 0 { 1.0 } else { 1.0 - 0.9 * before as f64 / room as f64 })
}

/// Runs of equal characters count their square, gaps a part of the text's length; the best of all begins, as a
/// part of what the whole text would have.
fn subsequence(pattern: &[char], text: &[char]) -> f64 {
    if pattern == text {
        return 1.0;
    }
    let Some(last) = text.len().checked_sub(pattern.len()) else { return 0.0 };
    let Some(first) = pattern.first() else { return 1.0 };
    let mut best = -1.0_f64;
    for start in (0..=last).filter(|i| text.get(*i) == Some(first)) {
        // What is not to be found from here is not to be found from any later begin.
        let Some(score) = subsequence_from(pattern, text, start) else { break };
        best = best.max(score);
    }
    if best < 0.0 { 0.0 } else { best / (pattern.len() * pattern.len()) as f64 * NOT_EXACT }
}

fn subsequence_from(pattern: &[char], text: &[char], start: usize) -> Option<f64> {
    let each = 1.0 / text.len() as f64;
    let (mut score, mut done, mut at, mut before) = (0.0, 0, start, None::<usize>);
    while done < pattern.len() {
        let from = at + text.get(at..)?.iter().position(|c| Some(c) == pattern.get(done))?;
        let run = pattern.get(done..)?.iter().zip(text.get(from..)?).take_while(|(a, b)| a == b).count();
        let gap = before.map_or(from, |to| from - to - 1);
        if gap > 0 {
            score -= gap as f64 * each;
        }
        score += (run * run) as f64;
        done += run;
        at = from + run;
        before = Some(at - 1);
    }
    let trailing = text.len() - at;
    if trailing > 0 {
        score -= trailing as f64 * each * 0.5;
    }
    Some(score)
}

fn jaro_winkler(a: &[char], b: &[char]) -> f64 {
    if a == b {
        return 1.0;
    }
    let (short, long) = if a.len() > b.len() { (b, a) } else { (a, b) };
    if short.is_empty() {
        return 0.0;
    }
    let reach = (long.len() / 2).saturating_sub(1);
    let mut taken = vec![false; long.len()];
    let mut matched = Vec::new();
    for (i, c) in short.iter().enumerate() {
        let from = i.saturating_sub(reach);
        let hit = (from..(i + reach + 1).min(long.len()))
            .find(|j| long.get(*j) == Some(c) && taken.get(*j) == Some(&false));
        if let Some(slot) = hit.and_then(|j| taken.get_mut(j)) {
            *slot = true;
            matched.push(*c);
        }
    }
    if matched.is_empty() {
        return 0.0;
    }
    let others = long.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(c, _)| c);
    let transposed = matched.iter().zip(others).filter(|(a, b)| a != b).count() as f64;
    let matches = matched.len() as f64;
    // Reciprocals first, as upstream: the last bit is visible.
    let (of_short, of_long) = (1.0 / short.len() as f64, 1.0 / long.len() as f64);
    let jaro = (matches * of_short + matches * of_long + (matches - transposed * 0.5) / matches) / 3.0;
    let prefix = short.iter().zip(long).take(4).take_while(|(a, b)| a == b).count();
    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(term: &str, value: &str, threshold: f64, winkler: bool) -> Option<f64> {
        Filter::new(&[term], threshold, winkler, true).unwrap().score(value)
    }

    #[test]
    fn scores() {
        assert_eq!(score("http", "http_requests", 0.0, false), Some(1.0));
        assert_eq!(score("xyz", "http_requests", 0.0, false), None);
        let s = score("hreq", "http_requests", 0.0, false).unwrap();
        assert!(s > 0.0 && s < 1.0, "{s}");
        assert_eq!(score("req", "http_requests", 0.0, true), Some(1.0 - 0.9 * 5.0 / 10.0));
        assert_eq!(score("reqx", "http_requests", 0.0, true), None);
        assert!(score("martha", "marhta", 0.9, true).unwrap() > 0.96);
        assert_eq!(score("a", "", 0.5, true), None);
        let both = Filter::new(&["X", "Q"], 0.0, true, false).unwrap();
        assert_eq!(both.score("xq"), Some(1.0));
        assert!(Filter::new(&["", ""], 0.0, true, true).is_none());
    }

    #[test]
    fn long_values_are_only_looked_through() {
        let long = "a".repeat(SCORED_CHARS_MAX) + "needle";
        assert!(score("needle", &long, 0.5, false).is_some());
        assert_eq!(score("ndl", &long, 0.5, false), None);
    }
}
