//! When a server says to ask again: `Retry-After`, RFC 9110 §10.2.3.

use std::time::{Duration, SystemTime};

use httpdate::parse_http_date;
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
    let now = text(response, header::DATE).and_then(|date| parse_http_date(&date).ok());
    let now = now.unwrap_or_else(SystemTime::now);
    wait(&text(response, header::RETRY_AFTER)?, now)
}

/// The time that a header's text names: seconds, or a moment.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let until = || {
        let moment = parse_http_date(text).ok()?;
        Some(moment.duration_since(now).unwrap_or_default().as_secs())
    };
    let seconds = text.parse().ok().or_else(until)?;
    // More than anybody waits, and no more than clocks take.
    Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_moments_are_understood() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_700);
        let told = |text: &str| wait(text, now).map(|time| time.as_secs());
        assert_eq!(told(" 120 "), Some(120));
        assert_eq!(told("Sun, 06 Nov 1994 08:49:37 GMT"), Some(77));
        assert_eq!(told("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(told("18446744073709551615"), Some(u64::from(u32::MAX)));
        assert_eq!((told("-1"), told("soon"), told("1.5")), (None, None, None));
    }
}
