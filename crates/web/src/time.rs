//! Times and durations of the API: as parameters (RFC 3339 or seconds, durations or seconds) and as
//! answers. Follows upstream's `web/api/v1/api.go` (`parseTime`, `parseDuration`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::float_text::parse_float;

/// Start of an optional range: upstream's `MinTime`, in ms.
pub(crate) const MIN_TIME_MS: i64 = (i64::MIN / 1000 + 62_135_596_801) * 1000;
/// End of an optional range: upstream's `MaxTime`, in ms.
pub(crate) const MAX_TIME_MS: i64 = (i64::MAX / 1000 - 62_135_596_801) * 1000 + 999;

/// How upstream prints its limits; clients send them back.
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// A moment with nanoseconds, since ranges are compared before they are cut to milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i128);

impl Moment {
    pub(crate) const MIN: Moment = Moment(MIN_TIME_MS as i128 * 1_000_000);
    pub(crate) const MAX: Moment = Moment(MAX_TIME_MS as i128 * 1_000_000 + 999_999);

    pub(crate) fn from_ns(ns: i128) -> Self {
        Moment(ns)
    }

    /// Milliseconds, rounded down as upstream's `timestamp.FromTime` does; wraps as it does beyond 292 million
    /// years.
    pub(crate) fn ms(self) -> i64 {
        self.0.div_euclid(1_000_000) as i64
    }

    /// Nanoseconds from `earlier` to here, within what Go's `time.Duration` holds.
    pub(crate) fn since_ns(self, earlier: Moment) -> i64 {
        let ns = self.0 - earlier.0;
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    }
}

/// A float as Go converts it to an integer on the machines that most servers run on: what does not fit, and
/// what is no number, is the least one.
fn go_int(v: f64) -> i64 {
    // 2^63, which is the first that does not fit.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&v) { v as i64 } else { i64::MIN }
}

/// A time parameter.
pub(crate) fn parse_time(s: &str) -> Result<Moment, String> {
    if let Ok(t) = parse_float(s) {
        if t.is_nan() {
            return Ok(Moment(0));
        }
        let whole = t.trunc();
        let millis = ((t - whole) * 1000.0).round() / 1000.0;
        // Infinities have no fraction: what `trunc` leaves of them is NaN, which the cast makes zero.
        let ns = i128::from(go_int(whole)) * 1_000_000_000 + i128::from((millis * 1e9) as i64);
        return Ok(Moment(ns));
    }
    if let Some(at) = parse_rfc3339(s) {
        return Ok(at);
    }
    match s {
        MIN_TIME_TEXT => Ok(Moment::MIN),
        MAX_TIME_TEXT => Ok(Moment::MAX),
        _ => Err(format!("cannot parse {} to a valid timestamp", crate::text::quote(s))),
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let digit = |n: i64, b: &u8| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0'));
    bytes.iter().try_fold(0, digit)
}

/// RFC 3339 as Go's `time.RFC3339Nano` layout reads it: upper-case `T` and `Z`, fraction of any length with
/// `.` or `,`, four digits of year.
fn parse_rfc3339(s: &str) -> Option<Moment> {
    let b = s.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if b.len() < 20 || separators.iter().any(|(i, c)| b.get(*i) != Some(c)) {
        return None;
    }
    let field = |from: usize, to: usize| b.get(from..to).and_then(digits);
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let mut rest = b.get(19..)?;
    let mut nanos = 0;
    if let Some((b'.' | b',', tail)) = rest.split_first() {
        let n = tail.iter().take_while(|c| c.is_ascii_digit()).count();
        if n == 0 {
            return None;
        }
        let kept = digits(tail.get(..n.min(9))?)?;
        nanos = kept * 10_i64.pow(9 - n.min(9) as u32);
        rest = tail.get(n..)?;
    }
    let offset_seconds = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (h, m) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if h > 24 || m >= 60 {
                return None;
            }
            (h * 3600 + m * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = i128::from(days_since_epoch(date));
    let seconds = days * 86_400 + i128::from(hour * 3600 + minute * 60 + second - offset_seconds);
    Some(Moment(seconds * 1_000_000_000 + i128::from(nanos)))
}

fn days_since_epoch(date: jiff::civil::Date) -> i64 {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.until(date).map_or(0, |span| i64::from(span.get_days()))
}

/// A duration parameter, in nanoseconds; may be negative.
pub(crate) fn parse_duration_ns(s: &str) -> Result<i64, String> {
    if let Ok(d) = parse_float(s) {
        let ns = d * 1e9;
        if ns > i64::MAX as f64 || ns < i64::MIN as f64 {
            return Err(format!(
                "cannot parse {} to a valid duration. It overflows int64",
                crate::text::quote(s)
            ));
        }
        // NaN becomes 0, which every caller that needs a positive duration refuses.
        return Ok(ns as i64);
    }
    match model::duration::parse(s) {
        Ok(d) => Ok(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
        Err(_) => Err(format!("cannot parse {} to a valid duration", crate::text::quote(s))),
    }
}

/// RFC 3339 in UTC with the digits below the second that are not zero at the end.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let ns = match at.duration_since(UNIX_EPOCH) {
        Ok(d) => d.as_nanos() as i128,
        Err(e) => -(e.duration().as_nanos() as i128),
    };
    match jiff::Timestamp::from_nanosecond(ns) {
        Ok(t) => t.to_string(),
        Err(_) => GO_ZERO_TIME.to_string(),
    }
}

/// What Go prints for a time that was never set.
pub(crate) const GO_ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Seconds of a duration as Go's `Duration.Seconds()`.
pub(crate) fn seconds(d: Duration) -> f64 {
    d.as_secs() as f64 + f64::from(d.subsec_nanos()) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, ns) in [
            ("0", 0_i128),
            ("1", 1_000_000_000),
            ("1.5", 1_500_000_000),
            ("123.123", 123_123_000_000),
            ("123.1234999", 123_123_000_000),
            ("-1.25", -1_250_000_000),
            ("1e3", 1_000_000_000_000),
            ("1_0", 10_000_000_000),
            ("0x1p4", 16_000_000_000),
            ("NaN", 0),
            ("1543578564.705", 1_543_578_564_705_000_000),
            ("2015-06-03T13:21:58.555Z", 1_433_337_718_555_000_000),
            ("2015-06-03T14:21:58.555+01:00", 1_433_337_718_555_000_000),
            ("2015-06-03T13:21:58Z", 1_433_337_718_000_000_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
            ("9999-12-31T23:59:59.123456789123Z", 253_402_300_799_123_456_789),
        ] {
            assert_eq!(parse_time(text), Ok(Moment(ns)), "{text}");
        }
        for bad in [
            "",
            "foo",
            "30s",
            "2015-06-03T13:21:58",
            "2015-6-03T13:21:58Z",
            "2015-13-03T13:21:58Z",
            "2015-06-03t13:21:58Z",
            "2015-06-03T13:21:58.Z",
            "1e400",
            "2015-06-03T24:00:00Z",
            "2015-06-03 13:21:58Z",
        ] {
            assert_eq!(parse_time(bad), Err(format!("cannot parse {bad:?} to a valid timestamp")));
        }
        assert_eq!(parse_time(MIN_TIME_TEXT), Ok(Moment::MIN));
        assert_eq!(parse_time(MAX_TIME_TEXT), Ok(Moment::MAX));
        assert_eq!((Moment::MIN.ms(), Moment::MAX.ms()), (MIN_TIME_MS, MAX_TIME_MS));
    }

    #[test]
    fn times_beyond_all_years_wrap_as_upstreams() {
        for text in ["1e20", "-1e20", "9223372036854775807", "Inf"] {
            assert_eq!(parse_time(text).map(Moment::ms), Ok(0), "{text}");
        }
        assert_eq!(parse_time("9e15").map(Moment::ms), Ok(9_000_000_000_000_000_000));
    }

    #[test]
    fn durations() {
        for (text, ns) in [
            ("1", 1_000_000_000),
            ("0.25", 250_000_000),
            ("5m", 300_000_000_000),
            ("-1", -1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration_ns(text), Ok(ns));
        }
        assert_eq!(parse_duration_ns("1x"), Err("cannot parse \"1x\" to a valid duration".into()));
        assert_eq!(
            parse_duration_ns("1e300"),
            Err("cannot parse \"1e300\" to a valid duration. It overflows int64".into())
        );
    }

    #[test]
    fn go_times() {
        let at = UNIX_EPOCH + Duration::new(1_795_331_297, 645_362_700);
        assert_eq!(rfc3339(at), "2026-11-22T07:08:17.6453627Z");
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(5)), "1970-01-01T00:00:05Z");
    }
}
