//! Escapes of one character: `\n`, `\x41`, `\x{1F600}`, `\101`, `\.`.

use crate::parse::{consumed, error};
use crate::{Error, ErrorKind};

/// Highest code point.
const CODE_MAX: u32 = 0x10_FFFF;

/// Reads the escape that `at` begins with; returns the code point (possibly a surrogate) and the rest.
pub(crate) fn character(at: &str) -> Result<(u32, &str), Error> {
    let mut chars = at.chars();
    chars.next();
    let Some(c) = chars.next() else {
        return Err(error(ErrorKind::TrailingBackslash, ""));
    };
    let rest = chars.as_str();
    let code = match c {
        '1'..='7' if !rest.starts_with(|c| matches!(c, '0'..='7')) => None,
        '0'..='7' => return Ok(octal(at, rest)),
        'x' => return hexadecimal(at, rest),
        'a' => Some(7),
        'f' => Some(12),
        'n' => Some(10),
        'r' => Some(13),
        't' => Some(9),
        'v' => Some(11),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c as u32),
        _ => None,
    };
    code.map(|code| (code, rest)).ok_or_else(|| error(ErrorKind::InvalidEscape, consumed(at, rest)))
}

/// Up to three octal digits, the first of which is the last character of what was consumed.
fn octal<'a>(at: &'a str, rest: &'a str) -> (u32, &'a str) {
    let digits = consumed(at, rest).chars().skip(1).chain(rest.chars());
    let digits: Vec<u32> = digits.map_while(|c| c.to_digit(8)).take(3).collect();
    let code = digits.iter().fold(0, |code, d| code * 8 + d);
    (code, rest.get(digits.len().saturating_sub(1)..).unwrap_or(""))
}

fn hexadecimal<'a>(at: &'a str, rest: &'a str) -> Result<(u32, &'a str), Error> {
    let invalid = |rest: &str| error(ErrorKind::InvalidEscape, consumed(at, rest));
    let mut chars = rest.chars();
    let Some(first) = chars.next() else { return Err(invalid("")) };
    if first != '{' {
        let second = chars.next();
        let high = first.to_digit(16);
        let low = second.and_then(|c| c.to_digit(16));
        let (Some(high), Some(low)) = (high, low) else { return Err(invalid(chars.as_str())) };
        return Ok((high * 16 + low, chars.as_str()));
    }
    let (mut code, mut digits) = (0_u32, 0_usize);
    loop {
        let c = chars.next();
        match (c, c.and_then(|c| c.to_digit(16))) {
            (Some('}'), _) if digits > 0 => return Ok((code, chars.as_str())),
            (_, Some(digit)) => {
                // Bounded at every step, so that a long row of digits cannot overflow.
                code = code * 16 + digit;
                if code > CODE_MAX {
                    return Err(invalid(chars.as_str()));
                }
                digits += 1;
            }
            _ => return Err(invalid(chars.as_str())),
        }
    }
}
