//! `destrier token inspect`: what a token says, for a person to read.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{now, read_token};
use crate::auth::{self, UnixTime};
use crate::cli::TokenInput;
use crate::commands::{CommandError, print, tell};

/// Prints header, claims and times, and warns that nothing was verified.
pub(super) fn run(args: &TokenInput) -> Result<(), CommandError> {
    let token = read_token(&args.token_file)?;
    let said = auth::inspect(&token)
        .map_err(|error| CommandError::failure(format!("token cannot be read: {error}")))?;
    let shown = json!({
        "header": said.header,
        "claims": said.payload,
        "times": times(&said.payload, now()),
    });
    tell("nothing was verified: anyone can have written this, see `destrier token verify`");
    print(&format!("{shown:#}\n"))
}

fn times(claims: &Map<String, Value>, now: UnixTime) -> Map<String, Value> {
    ["iat", "nbf", "exp"]
        .into_iter()
        .filter_map(|name| {
            let seconds = claims.get(name)?.as_u64()?;
            Some((name.to_owned(), human(seconds, now)?.into()))
        })
        .collect()
}

/// `2026-11-24T21:32:00Z, in 5m`. None after the year 9999, which RFC 3339 cannot write.
fn human(seconds: u64, UnixTime(now): UnixTime) -> Option<String> {
    const YEAR_10000: u64 = 253_402_300_800;
    if seconds >= YEAR_10000 {
        return None;
    }
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    let distance = humantime::format_duration(Duration::from_secs(seconds.abs_diff(now)));
    let distance = if seconds > now {
        format!("in {distance}")
    } else {
        format!("{distance} ago")
    };
    Some(format!(
        "{}, {distance}",
        humantime::format_rfc3339_seconds(time)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_date_and_distance() {
        let now = UnixTime(1_000_000_000);
        let later = human(1_000_000_300, now).unwrap();
        assert_eq!(later, "2001-09-09T01:51:40Z, in 5m");
        let earlier = human(999_996_400, now).unwrap();
        assert_eq!(earlier, "2001-09-09T00:46:40Z, 1h ago");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_left_out() {
        assert_eq!(human(u64::MAX, UnixTime(0)), None);
        assert_eq!(human(253_402_300_800, UnixTime(0)), None);
        assert!(human(253_402_300_799, UnixTime(0)).is_some());
    }
}
