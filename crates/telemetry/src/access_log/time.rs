//! `%START_TIME%`: RFC 3339 with milliseconds in UTC, without an allocation.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

thread_local! {
    /// The second formatted last and its text, since most lines of a second share it.
    static LAST: Cell<(u64, [u8; 19])> = const { Cell::new((u64::MAX, [0; 19])) };
}

/// Writes `time` as `2026-11-21T00:20:16.123Z`. Times before 1970 are written as 1970.
pub(super) fn write_rfc3339_millis(time: SystemTime, out: &mut Vec<u8>) {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let (second, mut text) = LAST.get();
    if second != since.as_secs() {
        text = civil(since.as_secs());
        LAST.set((since.as_secs(), text));
    }
    out.extend_from_slice(&text);
    let mut fraction = *b".000Z";
    digits(&mut fraction[1..4], since.subsec_millis().into());
    out.extend_from_slice(&fraction);
}

/// Days to a Gregorian date. Source: Hinnant, "chrono-compatible low-level date algorithms".
fn civil(unix_seconds: u64) -> [u8; 19] {
    let (days, second_of_day) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00";
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    digits(&mut text[0..4], year);
    for (start, value) in [(5, month), (8, day), (11, hour), (14, minute), (17, second)] {
        digits(&mut text[start..start + 2], value);
    }
    text
}

fn digits(into: &mut [u8], mut value: u64) {
    for place in into.iter_mut().rev() {
        // A remainder of ten is below 256.
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_dates_as_the_calendar_has_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_704_067_199, "2023-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let mut out = Vec::new();
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 7_000_000);
            write_rfc3339_millis(time, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
