//! What comes of a refresh token that is shown: the one place that decides whether it is used, used again, or stolen.

use std::time::Duration;

/// Milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Millis(pub(super) i64);

impl Millis {
    pub(super) fn of(since_1970: Duration) -> Self {
        Self(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    }

    /// In whole seconds, as in a token.
    pub(super) const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// What a refresh does with the token that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It stays in use, and nothing new is made.
    Keep,
    /// A new one is made; the old one stays valid until it expires.
    Rotate,
    /// A new one is made, and the old one must not come again.
    RotateOnce {
        /// Save for so long: requests that were made at the same time get the same answer.
        grace: Duration,
    },
}

/// What names the two tokens of a pair, and when they were made: with the token that they came from, the whole pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Successor {
    /// `jti` of the refresh token.
    pub(super) refresh: String,
    /// `jti` of the access token.
    pub(super) access: String,
    /// When.
    pub(super) at: Millis,
}

/// What is known of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known {
    /// It, or its family, was blacklisted.
    pub(super) is_revoked: bool,
    /// What it was used for, where that is allowed once.
    pub(super) successor: Option<Successor>,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Only a new access token is made.
    Keep,
    /// A new pair is made.
    Rotate,
    /// A new pair is made, and the token is noted as used for it.
    RotateOnce,
    /// The pair that was made of it is answered again.
    Again(Successor),
    /// It is refused.
    Revoked,
    /// It is refused, and so is everything that came of the same login: of the client and a thief, one has it.
    Reused,
}

/// Decides about a token whose signature and time are good.
pub(super) fn decide(known: Option<&Known>, mode: Mode, now: Millis) -> Decision {
    let Some(known) = known else {
        return first_use(mode);
    };
    if known.is_revoked {
        return Decision::Revoked;
    }
    let Some(successor) = &known.successor else {
        return first_use(mode);
    };
    let grace = match mode {
        Mode::RotateOnce { grace } => grace,
        Mode::Keep | Mode::Rotate => Duration::ZERO,
    };
    // The first use counts, so that a token that comes again and again does not prolong its own grace.
    let age = now.0.saturating_sub(successor.at.0);
    let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    if age < grace {
        Decision::Again(successor.clone())
    } else {
        Decision::Reused
    }
}

const fn first_use(mode: Mode) -> Decision {
    match mode {
        Mode::Keep => Decision::Keep,
        Mode::Rotate => Decision::Rotate,
        Mode::RotateOnce { .. } => Decision::RotateOnce,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONCE: Mode = Mode::RotateOnce {
        grace: Duration::from_secs(10),
    };

    fn used_at(seconds: i64) -> Known {
        Known {
            is_revoked: false,
            successor: Some(successor(seconds)),
        }
    }

    fn successor(seconds: i64) -> Successor {
        Successor {
            refresh: "r".to_owned(),
            access: "a".to_owned(),
            at: Millis(seconds * 1000),
        }
    }

    fn at(seconds: i64) -> Millis {
        Millis(seconds * 1000)
    }

    #[test]
    fn the_first_use_does_what_is_configured() {
        for known in [None, Some(&Known::default())] {
            assert_eq!(decide(known, Mode::Keep, at(0)), Decision::Keep);
            assert_eq!(decide(known, Mode::Rotate, at(0)), Decision::Rotate);
            assert_eq!(decide(known, ONCE, at(0)), Decision::RotateOnce);
        }
    }

    #[test]
    fn within_the_grace_the_answer_is_the_same_and_after_it_the_family_is_revoked() {
        let known = used_at(100);
        let again = Decision::Again(successor(100));
        assert_eq!(decide(Some(&known), ONCE, at(100)), again);
        assert_eq!(decide(Some(&known), ONCE, Millis(109_999)), again);
        assert_eq!(decide(Some(&known), ONCE, at(110)), Decision::Reused);
        // Another host's clock may be behind.
        assert_eq!(decide(Some(&known), ONCE, at(99)), again);
    }

    #[test]
    fn a_token_that_was_used_up_stays_so_when_rotation_is_turned_off() {
        for mode in [Mode::Keep, Mode::Rotate] {
            assert_eq!(decide(Some(&used_at(100)), mode, at(100)), Decision::Reused);
        }
    }

    proptest! {
        #[test]
        fn a_revoked_token_is_refused_whatever_else_is_so(
            used in proptest::option::of(0_i64..1000), now in 0_i64..2000, grace in 0_u64..300, which in 0..3
        ) {
            let known = Known { is_revoked: true, successor: used.map(successor) };
            let mode = match which {
                0 => Mode::Keep,
                1 => Mode::Rotate,
                _ => Mode::RotateOnce { grace: Duration::from_secs(grace) },
            };
            prop_assert_eq!(decide(Some(&known), mode, at(now)), Decision::Revoked);
        }
    }
}
