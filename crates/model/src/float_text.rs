//! Numbers as Go's `strconv` prints and reads them.
//!
//! Upstream prints samples with 'f' (API), 'g' (exposition, `le`), and reads with `ParseFloat`; a client
//! that compares strings sees every difference. The `write_` forms append to a caller's buffer and do
//! not allocate besides.

mod parse;

pub use parse::{ParseFloatError, parse_float};

/// Significant decimal digits of a finite number above zero: 0.d1d2d3... times 10^`point`.
struct Digits {
    /// ASCII, without zeros at either end; empty for zero.
    text: [u8; 24],
    len: usize,
    point: i32,
}

impl Digits {
    /// The fewest digits that read back as the same number.
    fn shortest(v: f64) -> Self {
        let mut buffer = zmij::Buffer::new();
        Digits::read(buffer.format_finite(v).as_bytes())
    }

    /// Takes digits, point and exponent from a printed number.
    fn read(printed: &[u8]) -> Self {
        let mut digits = Digits { text: [0; 24], len: 0, point: 0 };
        let (mut before_point, mut exponent, mut zeros) = (0_i32, 0_i32, 0_usize);
        let mut seen_point = false;
        for (i, b) in printed.iter().enumerate() {
            match b {
                b'.' => seen_point = true,
                b'e' => {
                    let text = printed.get(i + 1..).and_then(|t| std::str::from_utf8(t).ok());
                    exponent = text.and_then(|t| t.parse().ok()).unwrap_or(0);
                    break;
                }
                b'0'..=b'9' => {
                    before_point += i32::from(!seen_point);
                    if *b == b'0' {
                        // Zeros in front move the point, zeros at the end do not count.
                        if digits.len == 0 {
                            before_point -= 1;
                        } else {
                            zeros += 1;
                        }
                        continue;
                    }
                    for digit in std::iter::repeat_n(b'0', std::mem::take(&mut zeros)).chain([*b]) {
                        if let Some(slot) = digits.text.get_mut(digits.len) {
                            *slot = digit;
                            digits.len += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        digits.point = before_point + exponent;
        digits
    }

    fn as_slice(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or(&[])
    }

    /// `123.45`, `0.0012`, `1200`.
    fn write_plain(&self, out: &mut Vec<u8>) {
        let digits = self.as_slice();
        let whole = usize::try_from(self.point).unwrap_or(0);
        if whole == 0 {
            out.push(b'0');
        }
        out.extend(digits.iter().take(whole));
        out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(digits.len())));
        if digits.len() > whole {
            out.push(b'.');
            let zeros = usize::try_from(-self.point).unwrap_or(0);
            out.extend(std::iter::repeat_n(b'0', zeros));
            out.extend(digits.iter().skip(whole));
        }
    }

    /// `1.2345e+06`; the exponent has two digits at least.
    fn write_exponential(&self, out: &mut Vec<u8>, fraction_digits: Option<usize>) {
        let digits = self.as_slice();
        let fraction = digits.get(1..).unwrap_or(&[]);
        out.push(digits.first().copied().unwrap_or(b'0'));
        let width = fraction_digits.unwrap_or(fraction.len());
        if width > 0 {
            out.push(b'.');
            out.extend_from_slice(fraction);
            out.extend(std::iter::repeat_n(b'0', width.saturating_sub(fraction.len())));
        }
        let exponent = if digits.is_empty() { 0 } else { self.point - 1 };
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        write_unsigned(out, u64::from(exponent.unsigned_abs()));
    }
}

fn write_unsigned(out: &mut Vec<u8>, mut n: u64) {
    // 2^64 has 20 digits.
    let mut buffer = [b'0'; 20];
    let mut used = 0;
    for slot in buffer.iter_mut().rev() {
        *slot = b'0' + (n % 10) as u8;
        n /= 10;
        used += 1;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(buffer.get(buffer.len() - used..).unwrap_or(&[]));
}

/// Writes NaN, infinities and the sign. True where digits must follow.
fn write_head(out: &mut Vec<u8>, v: f64) -> bool {
    if v.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if v.is_infinite() {
        out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        if v.is_sign_negative() {
            out.push(b'-');
        }
        return true;
    }
    false
}

/// 'g' with shortest digits prints an exponent from here on, however many digits there are: Go decides as
/// if the precision were 6.
const EXPONENT_FROM: i32 = 6;
/// 10^[`EXPONENT_FROM`].
const PLAIN_BELOW: u64 = 1_000_000;

/// Counts below 2^53, which most samples are, need no search for the shortest digits.
fn as_small_integer(v: f64) -> Option<u64> {
    let size = v.abs();
    (size < 9_007_199_254_740_992.0 && size.trunc() == size).then_some(size as u64)
}

/// Writes `strconv.FormatFloat(v, 'f', -1, 64)`: shortest digits, no exponent; `NaN`, `+Inf`, `-Inf`.
pub fn write_f(out: &mut Vec<u8>, v: f64) {
    if !write_head(out, v) {
        return;
    }
    match as_small_integer(v) {
        Some(n) => write_unsigned(out, n),
        None => Digits::shortest(v.abs()).write_plain(out),
    }
}

/// Writes `strconv.FormatFloat(v, 'g', -1, 64)`: shortest digits, with an exponent below 10^-4 and from
/// 10^6 on. It is also what `fmt.Print` gives.
pub fn write_g(out: &mut Vec<u8>, v: f64) {
    if !write_head(out, v) {
        return;
    }
    if let Some(n) = as_small_integer(v).filter(|n| *n < PLAIN_BELOW) {
        write_unsigned(out, n);
        return;
    }
    let digits = Digits::shortest(v.abs());
    let exponent = digits.point - 1;
    if !(-4..EXPONENT_FROM).contains(&exponent) {
        digits.write_exponential(out, None);
    } else {
        digits.write_plain(out);
    }
}

/// Writes `strconv.FormatFloat(v, 'e', precision, 64)`; `None` for the shortest digits.
pub fn write_e(out: &mut Vec<u8>, v: f64, precision: Option<usize>) {
    if !write_head(out, v) {
        return;
    }
    match precision {
        None => Digits::shortest(v.abs()).write_exponential(out, None),
        Some(precision) => {
            let precision = precision.min(PRECISION_MAX);
            let text = format!("{:.*e}", precision, v.abs());
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            out.extend_from_slice(mantissa.as_bytes());
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            write_unsigned(out, u64::from(exponent.unsigned_abs()));
        }
    }
}

/// Digits that can differ from zero: the smallest number has 1,074 places. More would only be zeros that
/// a template's author asked for.
const PRECISION_MAX: usize = 1100;

/// `strconv.FormatFloat(v, 'g', precision, 64)`: that many significant digits, without zeros at the end
/// (`%.4g`, as templates' `humanize` prints).
#[must_use]
pub fn format_g_precision(v: f64, precision: usize) -> String {
    let mut out = Vec::with_capacity(24);
    if write_head(&mut out, v) {
        let precision = precision.clamp(1, PRECISION_MAX);
        let text = format!("{:.*e}", precision - 1, v.abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let digits = mantissa.replace('.', "");
        let digits = digits.trim_end_matches('0');
        // Go lowers the bound to the digits that are there, but not below the digits before the point.
        let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
        let mut bound = i32::try_from(precision).unwrap_or(i32::MAX);
        if bound > count && count > exponent {
            bound = count;
        }
        write_digits(&mut out, digits, exponent, exponent < -4 || exponent >= bound);
    }
    into_string(out)
}

/// Digits that may be more than [`Digits`] holds.
fn write_digits(out: &mut Vec<u8>, digits: &str, exponent: i32, exponential: bool) {
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    let (whole, fraction) = if exponential {
        digits.split_at(1)
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
        out.extend_from_slice(digits.as_bytes());
        return;
    } else {
        digits.split_at((exponent as usize + 1).min(digits.len()))
    };
    out.extend_from_slice(whole.as_bytes());
    if !exponential {
        out.extend(std::iter::repeat_n(b'0', (exponent as usize + 1).saturating_sub(whole.len())));
    }
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    if exponential {
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        write_unsigned(out, u64::from(exponent.unsigned_abs()));
    }
}

/// `strconv.FormatFloat(v, 'f', precision, 64)`, as `printf "%.2f"`.
#[must_use]
pub fn format_f_precision(v: f64, precision: usize) -> String {
    let mut out = Vec::with_capacity(24);
    if write_head(&mut out, v) {
        let text = format!("{:.*}", precision.min(PRECISION_MAX), v.abs());
        out.extend_from_slice(text.as_bytes());
    }
    into_string(out)
}

/// Writes a number as OpenMetrics wants it: as 'g', with `.0` where it would look like an integer. `le` and
/// `quantile` values are brought to this form when scraped (upstream: `labels.FormatOpenMetricsFloat`).
pub fn write_openmetrics(out: &mut Vec<u8>, v: f64) {
    // Zero has no sign here, as upstream compares with `==`.
    let begin = out.len();
    write_g(out, if v == 0.0 { 0.0 } else { v });
    let written = out.get(begin..).unwrap_or(&[]);
    if v.is_finite() && !written.iter().any(|b| matches!(b, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
}

/// Brings a `le` or `quantile` value to the form of [`write_openmetrics`] (`1` → `1.0`); a text that is no
/// number stays. `scratch` holds the result.
#[must_use]
pub fn normalize_bound<'a>(text: &'a str, scratch: &'a mut Vec<u8>) -> &'a str {
    let Ok(v) = parse_float(text) else { return text };
    scratch.clear();
    write_openmetrics(scratch, v);
    std::str::from_utf8(scratch).unwrap_or(text)
}

fn into_string(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_default()
}

fn text_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(24);
    write(&mut out);
    into_string(out)
}

/// [`write_f`] into a string.
#[must_use]
pub fn format_f(v: f64) -> String {
    text_of(|out| write_f(out, v))
}

/// [`write_g`] into a string.
#[must_use]
pub fn format_g(v: f64) -> String {
    text_of(|out| write_g(out, v))
}

/// [`write_e`] into a string.
#[must_use]
pub fn format_e(v: f64, precision: Option<usize>) -> String {
    text_of(|out| write_e(out, v, precision))
}

/// [`write_openmetrics`] into a string.
#[must_use]
pub fn format_openmetrics(v: f64) -> String {
    text_of(|out| write_openmetrics(out, v))
}
