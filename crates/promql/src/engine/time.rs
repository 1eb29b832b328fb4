//! The calendar: Gregorian, proleptic, UTC, without leap seconds, as Go's `time` has it.

/// A moment split into calendar fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    /// 0 is Sunday.
    pub(crate) weekday: i64,
    /// 1 is 1 January.
    pub(crate) year_day: i64,
}

pub(crate) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Seconds from 1 March of the year -292,277,022,400, where Go's calendar begins, to 1970.
const UNIX_TO_ABSOLUTE: u64 = 9_223_372_028_741_760_000;

/// Fields of a Unix time in seconds. Times before Go's calendar wrap around to its end, as there.
pub(crate) fn civil(unix_seconds: i64) -> Civil {
    let absolute = (unix_seconds as u64).wrapping_add(UNIX_TO_ABSOLUTE);
    let unix_seconds = i128::from(absolute) - i128::from(UNIX_TO_ABSOLUTE);
    let days = unix_seconds.div_euclid(86_400) as i64;
    let rest = unix_seconds.rem_euclid(86_400) as i64;
    // Eras of 400 years that begin on 1 March 0000: month lengths then follow a linear formula.
    let z = i128::from(days) + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as i64;
    let month = (if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 }) as i64;
    let year = (year_of_era + era * 400) as i64 + i64::from(month <= 2);
    let before: i64 = (1..month).map(|m| days_in_month(year, m)).sum();
    Civil {
        year,
        month,
        day,
        hour: rest / 3600,
        minute: rest / 60 % 60,
        second: rest % 60,
        weekday: (days.rem_euclid(7) + 4) % 7,
        year_day: before + day,
    }
}

/// `2006-01-02T15:04:05Z`
pub(crate) fn rfc3339_seconds(t_ms: i64) -> String {
    let c = civil(t_ms / 1000);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(rfc3339_seconds(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339_seconds(1_709_164_799_000), "2024-02-28T23:59:59Z");
        let c = civil(1_709_164_800);
        assert_eq!((c.month, c.day, c.weekday, c.year_day), (2, 29, 4, 60));
        let c = civil(-1);
        assert_eq!((c.year, c.month, c.day, c.hour, c.weekday), (1969, 12, 31, 23, 3));
    }
}
