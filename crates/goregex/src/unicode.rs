//! Unicode as Go's `unicode` package knows it.

/// Go's `unicode.IsLetter` or `unicode.IsDigit`.
pub(crate) fn is_letter_or_digit(c: char) -> bool {
    c.is_alphanumeric()
}

/// Go's `strings.ToLower`.
#[must_use]
pub fn to_lower(text: &str) -> String {
    text.to_lowercase()
}

/// Go's `strings.ToUpper`.
#[must_use]
pub fn to_upper(text: &str) -> String {
    text.to_uppercase()
}

/// Go's `unicode.IsPrint`, which decides what `strconv.Quote` escapes.
#[must_use]
pub fn is_print(c: char) -> bool {
    !c.is_control()
}
