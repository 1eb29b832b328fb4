//! Options of this crate's own commands: `--name value`, a few without a value, and `--help`.

use anyhow::{Context, Result, bail};

/// Options one by one. `flags` have no value and are told with an empty one; what `take` does not know it says
/// with `Ok(false)`. Gives false where help was asked for.
///
/// # Errors
/// An option that nobody knows, one without its value, what `take` says of a value.
pub fn read(
    words: impl IntoIterator<Item = String>,
    flags: &[&str],
    mut take: impl FnMut(&str, &str) -> Result<bool>,
) -> Result<bool> {
    let mut words = words.into_iter();
    while let Some(name) = words.next() {
        if name == "--help" || name == "-h" {
            return Ok(false);
        }
        let value = match flags.contains(&name.as_str()) {
            true => String::new(),
            false => words.next().with_context(|| format!("{name} wants a value; --help lists all"))?,
        };
        if !take(&name, &value).with_context(|| format!("{name} {value}"))? {
            bail!("{name} is no option; --help lists all");
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<(bool, u64, bool)> {
        let (mut n, mut strict) = (1, false);
        let all = read(words.iter().map(ToString::to_string), &["--strict"], |name, value| {
            match name {
                "--n" => n = value.parse()?,
                "--strict" => strict = true,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok((all, n, strict))
    }

    #[test]
    fn options_are_read() {
        assert_eq!(of(&["--strict", "--n", "7"]).unwrap(), (true, 7, true));
        assert_eq!(of(&["--n", "7", "-h", "--what"]).unwrap(), (false, 7, false));
        for bad in [&["--n"][..], &["--n", "x"], &["--what", "1"], &["n"]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
