//! The date of an answer (RFC 9110 section 6.6.1) where hyper does not write it: once for each second.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use crate::sys::clock;

thread_local! {
    /// The second that was asked for last, and how it is written.
    static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// The date now.
pub(super) fn now() -> Option<HeaderValue> {
    let second = clock::unix().as_secs();
    LAST.with_borrow_mut(|last| {
        if let Some((_, written)) = last.as_ref().filter(|(of, _)| *of == second) {
            return Some(written.clone());
        }
        let written = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        // A date is a value of a field.
        let written = HeaderValue::try_from(written).ok()?;
        *last = Some((second, written.clone()));
        Some(written)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_now_however_often_it_is_asked_for() {
        for _ in 0..3 {
            let before = clock::unix();
            let date = now().unwrap();
            let date = httpdate::parse_http_date(date.to_str().unwrap()).unwrap();
            let date = date.duration_since(UNIX_EPOCH).unwrap();
            assert!(date.as_secs() >= before.as_secs() && date <= clock::unix());
        }
    }
}
