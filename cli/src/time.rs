//! Positions and times as they are typed, and times as they are shown.
//!
//! Owns the grammar of `-o` and `--until`: `first`, `last`, an offset, or `@` and a time.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// Where reading begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// The first message that is kept.
    First,
    /// Behind the last message there is now.
    Last,
    /// An offset, the same in each queue.
    Offset(i64),
    /// The first message stored at or after this time, ms since 1970.
    Time(i64),
    /// So long before now, ms.
    Ago(i64),
}

impl Position {
    /// Replaces a time relative to now by the time it means.
    pub(crate) fn at(self, now_ms: i64) -> Self {
        match self {
            Self::Ago(ms) => Self::Time(now_ms.saturating_sub(ms)),
            Self::First | Self::Last | Self::Offset(_) | Self::Time(_) => self,
        }
    }
}

/// Why a text is no position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoPosition(String);

impl fmt::Display for NoPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = "first, last, an offset, @-1h30m (ms s m h d w), @2026-11-01T00:00:00Z, @2026-11-01 (UTC), or @ and milliseconds since 1970";
        write!(f, "{:?} is no position; allowed are {allowed}", self.0)
    }
}

impl std::error::Error for NoPosition {}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let position = match text {
            "first" | "start" => Some(Self::First),
            "last" | "end" => Some(Self::Last),
            "@now" => Some(Self::Ago(0)),
            _ => match text.strip_prefix('@') {
                Some(time) => time
                    .strip_prefix('-')
                    .map_or_else(|| moment(time).map(Self::Time), |ago| span_ms(ago).map(Self::Ago)),
                None => text.parse().ok().filter(|offset| *offset >= 0).map(Self::Offset),
            },
        };
        position.ok_or_else(|| NoPosition(text.to_owned()))
    }
}

/// Digits from which a bare number counts milliseconds and not seconds: 12 digits of seconds are the year 5138.
const MILLISECOND_DIGITS: usize = 12;

fn moment(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        return if text.len() >= MILLISECOND_DIGITS { Some(number) } else { number.checked_mul(1_000) };
    }
    let timestamp: Timestamp = match text.parse() {
        Ok(timestamp) => timestamp,
        // A date, or a date and time without a zone: in UTC, whatever the machine's zone is.
        Err(_) => text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
    };
    Some(timestamp.as_millisecond())
}

/// `1h30m` and the like into milliseconds.
fn span_ms(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let letters = unit.find(|letter: char| letter.is_ascii_digit()).unwrap_or(unit.len());
        let ms = match &unit[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(ms)?)?;
        rest = &unit[letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// Milliseconds since 1970, now.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// RFC 3339 in UTC with milliseconds; `-` for a time that is not set.
pub(crate) fn show_ms(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(timestamp) if ms > 0 => format!("{timestamp:.3}"),
        Ok(_) | Err(_) => String::from("-"),
    }
}

/// How long ago, in its largest two units.
pub(crate) fn show_ago(then_ms: i64, now_ms: i64) -> String {
    if then_ms <= 0 {
        return String::from("-");
    }
    let seconds = SignedDuration::from_millis(now_ms.saturating_sub(then_ms).max(0)).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s ago"),
        (0, 0, minutes) => format!("{minutes} min {} s ago", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min ago"),
        (days, hours, _) => format!("{days} d {hours} h ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_all_forms() {
        let read = |text: &str| text.parse::<Position>();
        assert_eq!(read("first"), Ok(Position::First));
        assert_eq!(read("end"), Ok(Position::Last));
        assert_eq!(read("42"), Ok(Position::Offset(42)));
        assert_eq!(read("@-1h30m"), Ok(Position::Ago(5_400_000)));
        assert_eq!(read("@-250ms"), Ok(Position::Ago(250)));
        assert_eq!(read("@2026-11-01T00:00:00Z"), Ok(Position::Time(1_793_491_200_000)));
        assert_eq!(read("@2026-11-01T08:00:00+08:00"), Ok(Position::Time(1_793_491_200_000)));
        assert_eq!(read("@2026-11-01"), Ok(Position::Time(1_793_491_200_000)));
        assert_eq!(read("@1793491200000"), Ok(Position::Time(1_793_491_200_000)));
        assert_eq!(read("@1793491200"), Ok(Position::Time(1_793_491_200_000)));
        assert_eq!(read("@now").map(|now| now.at(7)), Ok(Position::Time(7)));
        for wrong in ["", "-1", "@", "@-", "@-1x", "@-1", "yesterday", "@2026-13-01"] {
            assert_eq!(read(wrong), Err(NoPosition(wrong.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn times_are_shown_for_people() {
        assert_eq!(show_ms(1_793_491_200_007), "2026-11-01T00:00:00.007Z");
        assert_eq!(show_ms(0), "-");
        assert_eq!(show_ago(1_000, 76_000), "1 min 15 s ago");
        assert_eq!(show_ago(1, 90_000_001), "1 d 1 h ago");
        assert_eq!(show_ago(0, 5), "-");
    }
}
