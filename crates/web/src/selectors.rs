//! Series selectors in parameters (`match[]`, `match_target`).

use model::Matcher;
use promql::ParseFault;
use storage::{Budget, StorageError};

use crate::respond::ApiError;

/// Why selectors were not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// They are malformed.
    Bad(String),
    /// There is no memory for them.
    Memory(StorageError),
}

impl Refused {
    /// The error of the API; `bad` says what a malformed selector is there.
    pub(crate) fn api(self, bad: impl FnOnce(String) -> ApiError) -> ApiError {
        match self {
            Refused::Bad(text) => bad(text),
            Refused::Memory(e) => ApiError::storage(&e),
        }
    }
}

impl From<ParseFault> for Refused {
    fn from(e: ParseFault) -> Self {
        match e {
            ParseFault::Parse(e) => Refused::Bad(e.to_string()),
            ParseFault::Memory(e) => Refused::Memory(e),
        }
    }
}

/// Parses one selector, charged to `memory`.
pub(crate) fn one(memory: &Budget, text: &str) -> Result<Vec<Matcher>, Refused> {
    Ok(promql::parse::parse_selector_within(text, memory)?)
}

/// Parses many; each must have a matcher that does not accept the empty value, since a selector without one
/// would read every series.
pub(crate) fn many<'a>(
    memory: &Budget,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<Vec<Matcher>>, Refused> {
    let sets = texts.map(|text| one(memory, text)).collect::<Result<Vec<_>, _>>()?;
    if sets.iter().any(|set| set.iter().all(|m| m.matches(""))) {
        return Err(Refused::Bad("match[] must contain at least one non-empty matcher".to_string()));
    }
    Ok(sets)
}
