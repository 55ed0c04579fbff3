//! When a server says to ask again: `Retry-After`, RFC 9110 §10.2.3.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use crate::client::text;

/// How long a server that is busy asks to be left alone.
pub(crate) fn asked_wait(response: &Response<Body>) -> Option<Duration> {
    let busy = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    if !busy.contains(&response.status()) {
        return None;
    }
    // By the server's own clock, if it tells the time.
    let now = text(response, header::DATE).and_then(|date| unix_seconds(&date));
    let now = now.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    });
    wait(&text(response, header::RETRY_AFTER)?, now)
}

/// The time that a header's text names: seconds, or a moment.
fn wait(text: &str, now: u64) -> Option<Duration> {
    let text = text.trim();
    let until = || Some(unix_seconds(text)?.saturating_sub(now));
    let seconds = text.parse().ok().or_else(until)?;
    // More than anybody waits, and no more than clocks take.
    Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))))
}

/// Seconds from 1970 to a date in the one form that servers may write, RFC 9110 §5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn unix_seconds(date: &str) -> Option<u64> {
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let parts: Vec<&str> = date.split(' ').collect();
    let [_, day, month, year, clock, "GMT"] = parts[..] else {
        return None;
    };
    let in_range = |text: &str, range: std::ops::RangeInclusive<u64>| {
        let number = text.parse().ok();
        number.filter(|number| range.contains(number))
    };
    let (day, year) = (in_range(day, 1..=31)?, in_range(year, 1970..=9999)?);
    let month = MONTHS.iter().position(|(name, _)| *name == month)?;
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leaps = |until: u64| until / 4 - until / 100 + until / 400;
    let before: u64 = MONTHS[..month].iter().map(|(_, days)| days).sum();
    let days = 365 * (year - 1970) + leaps(year - 1) - leaps(1969)
        + before
        + u64::from(is_leap && month > 1)
        + day
        - 1;
    let mut clock = clock.split(':');
    let mut next = |most| in_range(clock.next()?, 0..=most);
    let (hours, minutes, seconds) = (next(23)?, next(59)?, next(60)?);
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_1970() {
        for (date, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Fri, 01 Jan 2100 00:00:00 GMT", 4_102_444_800),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
        ] {
            assert_eq!(unix_seconds(date), Some(seconds), "{date}");
        }
        for bad in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        ] {
            assert_eq!(unix_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn seconds_and_moments_are_understood() {
        let now = 784_111_700;
        let told = |text: &str| wait(text, now).map(|time| time.as_secs());
        assert_eq!(told(" 120 "), Some(120));
        assert_eq!(told("Sun, 06 Nov 1994 08:49:37 GMT"), Some(77));
        assert_eq!(told("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(told("18446744073709551615"), Some(u64::from(u32::MAX)));
        assert_eq!((told("-1"), told("soon"), told("1.5")), (None, None, None));
    }
}
