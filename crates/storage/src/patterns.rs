//! Regular expressions of requests: what they compile to counts as memory of the request.
//!
//! A pattern of some bytes can compile to 64 MiB (`\\pL{1000}`), and a query can hold thousands of them. Nearly all
//! are small, so each is tried with a small bound first, and only one that passes it has its memory taken before
//! it is compiled. Rejected: a smaller bound for all, which refuses what upstream takes on machines that have the
//! room.

use model::{MatchOp, Matcher};

use crate::{Budget, StorageError};

/// Bound of the automaton in one direction that is not paid for ahead: at most four times that for each thread that
/// compiles.
const BOUND_FREE: usize = 1 << 20;
/// Those that are tried then, in turn, up to the engine's own.
const BOUNDS: [usize; 2] = [8 << 20, 64 << 20];
/// While it is compiled there are two directions in two forms.
const WHILE_COMPILED: u64 = 4;
/// Beside the automaton, caches of about its size for the threads that use it.
const WITH_CACHES: u64 = 2;

/// Why a pattern was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum PatternError<E> {
    /// It is malformed, or too large for any machine.
    #[error("{0}")]
    Pattern(E),
    /// The request has not the memory for it.
    #[error("{0}")]
    Memory(StorageError),
}

/// Compiles with `compile` within a bound of bytes, charged to `budget`. `large` tells the error of a bound that was
/// too small, `bytes` what the result takes.
///
/// # Errors
/// See [`PatternError`].
pub fn compiled<T, E>(
    budget: &Budget,
    compile: impl Fn(usize) -> Result<T, E>,
    large: impl Fn(&E) -> bool,
    bytes: impl Fn(&T) -> usize,
) -> Result<T, PatternError<E>> {
    let mut tried = compile(BOUND_FREE);
    for bound in BOUNDS {
        if !tried.as_ref().is_err_and(&large) {
            break;
        }
        let ahead = WHILE_COMPILED * bound as u64;
        budget.charge(ahead).map_err(PatternError::Memory)?;
        tried = compile(bound);
        budget.release(ahead);
    }
    let done = tried.map_err(PatternError::Pattern)?;
    budget.charge(WITH_CACHES * bytes(&done) as u64).map_err(PatternError::Memory)?;
    Ok(done)
}

/// A matcher whose expression is charged to `budget`.
///
/// # Errors
/// See [`PatternError`]; malformed patterns with upstream's text.
pub fn matcher(
    budget: &Budget,
    op: MatchOp,
    name: &str,
    value: &str,
) -> Result<Matcher, PatternError<String>> {
    if matches!(op, MatchOp::Equal | MatchOp::NotEqual) {
        return Matcher::new(op, name, value).map_err(|e| PatternError::Pattern(e.to_string()));
    }
    let made = compiled(
        budget,
        |bound| Matcher::within(op, name, value, bound),
        |e| e.is_large(),
        |m| m.regex().map_or(0, |regex| regex.memory_bytes()),
    );
    made.map_err(|e| match e {
        PatternError::Pattern(e) => PatternError::Pattern(e.to_string()),
        PatternError::Memory(e) => PatternError::Memory(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_paid_for() {
        let budget = Budget::new(64 << 20, None);
        let of = |pattern: &str| matcher(&budget, MatchOp::Regex, "a", pattern);
        // A set needs no automaton.
        of("a|b").unwrap();
        assert_eq!(budget.used(), 0);
        of("[ab]+c").unwrap();
        let small = budget.used();
        assert!((1..1 << 20).contains(&small), "{small}");
        // Some MiB, then more than there is, then more than there ever is.
        of("\\pL{90}").unwrap();
        assert!(budget.used() > small + (1 << 20), "{}", budget.used());
        let used = budget.used();
        let error = of("(\\pL{90}|x){10}").unwrap_err();
        assert!(matches!(error, PatternError::Memory(StorageError::MemoryLimit { .. })), "{error}");
        assert_eq!(budget.used(), used);
        assert!(matches!(of("(a{1000}){1000}"), Err(PatternError::Pattern(_))));
        assert_eq!(budget.used(), used);
    }
}
