//! Series selectors in parameters (`match[]`, `match_target`).

use model::Matcher;

/// Parses one selector.
pub(crate) fn one(text: &str) -> Result<Vec<Matcher>, String> {
    promql::parse::parse_selector(text).map_err(|e| e.to_string())
}

/// Parses many; each must have a matcher that does not accept the empty value, since a selector without one
/// would read every series.
pub(crate) fn many<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Vec<Matcher>>, String> {
    let sets = texts.map(one).collect::<Result<Vec<_>, _>>()?;
    if sets.iter().any(|set| set.iter().all(|m| m.matches(""))) {
        return Err("match[] must contain at least one non-empty matcher".to_string());
    }
    Ok(sets)
}
