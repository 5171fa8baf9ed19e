//! Session tickets (RFC 5077, RFC 8446 section 4.6.1): what a client brings so that a session goes on without a whole
//! handshake, with whichever worker of the generation.
//!
//! Nobody keeps keys: whoever has the secret of the generation, which is in its processes' memory only, derives those of a
//! period of time (HKDF, RFC 5869). A ticket is the name of its key, a nonce, and under AES-256-GCM-SIV when the certificates of its client end
//! and the session. From then on it is not opened, and the client makes a whole handshake (RFC 8446 section 2.2).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};

use super::session_end;
use crate::sys::clock;

/// How long the keys of a period make tickets, in seconds. They open them for as long again.
const PERIOD: u32 = 6 * 3600;

/// When a session ends whose client has shown no certificate.
const NEVER: i64 = i64::MAX;

const NAME_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// What the keys of a generation's tickets are derived from: for its processes only.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TicketSecret([u8; 32]);

/// It is shown to nobody.
impl fmt::Debug for TicketSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TicketSecret")
    }
}

/// Makes the tickets of a generation.
#[derive(Debug, Clone)]
pub(super) struct Tickets {
    secret: TicketSecret,
}

impl Tickets {
    /// With the secret of another process of the generation.
    pub(super) fn of(secret: TicketSecret) -> Self {
        Self { secret }
    }

    pub(super) fn secret(&self) -> TicketSecret {
        self.secret
    }

    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self::of(TicketSecret(secret)))
    }

    /// Those of sessions that began in this context; others are not opened.
    pub(super) fn in_context(&self, context: Option<[u8; 32]>) -> Arc<dyn ProducesTickets> {
        let prk = Salt::new(HKDF_SHA256, &context.unwrap_or_default()).extract(&self.secret.0);
        Arc::new(Ticketer {
            prk,
            keys: ArcSwapOption::empty(),
        })
    }
}

struct Ticketer {
    prk: Prk,
    /// Those of the last period that was asked for.
    keys: ArcSwapOption<Keys>,
}

struct Keys {
    period: u64,
    current: Key,
    previous: Key,
}

struct Key {
    name: [u8; NAME_LEN],
    key: RandomizedNonceKey,
}

impl Ticketer {
    fn keys(&self) -> Option<Arc<Keys>> {
        self.keys_at(clock::unix().as_secs())
    }

    fn keys_at(&self, now: u64) -> Option<Arc<Keys>> {
        let period = now / u64::from(PERIOD);
        let known = self.keys.load_full();
        if let Some(known) = known.filter(|keys| keys.period == period) {
            return Some(known);
        }
        let keys = Arc::new(Keys {
            period,
            current: self.derive(period).ok()?,
            previous: self.derive(period.saturating_sub(1)).ok()?,
        });
        self.keys.store(Some(Arc::clone(&keys)));
        Some(keys)
    }

    fn derive(&self, period: u64) -> Result<Key, Unspecified> {
        let period = period.to_be_bytes();
        let mut bytes = [0; NAME_LEN + KEY_LEN];
        self.prk
            .expand(
                &[b"destrier session ticket, with its end", &period],
                Length(bytes.len()),
            )?
            .fill(&mut bytes)?;
        let (name, key) = bytes.split_first_chunk().ok_or(Unspecified)?;
        Ok(Key {
            name: *name,
            key: RandomizedNonceKey::new(&AES_256_GCM_SIV, key)?,
        })
    }
}

impl Keys {
    /// Seals a session that ends then, in seconds since 1970.
    fn seal(&self, session: &[u8], end: i64) -> Option<Vec<u8>> {
        let Key { name, key } = &self.current;
        let mut sealed = [&end.to_be_bytes()[..], session].concat();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(name), &mut sealed)
            .ok()?;
        Some([name.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    /// The session of a ticket, and when it ends.
    fn open(&self, ticket: &[u8]) -> Option<(Vec<u8>, i64)> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut keys = [&self.current, &self.previous].into_iter();
        let key = keys.find(|key| key.name == *name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.key.open_in_place(nonce, Aad::from(name), &mut sealed);
        let (end, session) = opened.ok()?.split_first_chunk()?;
        Some((session.to_vec(), i64::from_be_bytes(*end)))
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let end = session_end::noted().unwrap_or(NEVER);
        self.keys()?.seal(session, end)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (session, end) = self.keys()?.open(ticket)?;
        if end == NEVER {
            return Some(session);
        }
        // For the tickets that follow.
        session_end::note(end);
        (clock::unix_seconds() <= end).then_some(session)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ticketer")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::Noted;
    use super::*;

    fn ticketer(tickets: &Tickets, context: Option<[u8; 32]>) -> Ticketer {
        Ticketer {
            prk: Salt::new(HKDF_SHA256, &context.unwrap_or_default()).extract(&tickets.secret.0),
            keys: ArcSwapOption::empty(),
        }
    }

    #[test]
    fn a_ticket_is_opened_by_whoever_has_the_secret_in_its_period_and_the_next_one() {
        let tickets = Tickets::new().unwrap();
        let (one, other) = (ticketer(&tickets, None), ticketer(&tickets, None));
        let start = 1000 * u64::from(PERIOD);
        let ticket = one.keys_at(start).unwrap().seal(b"session", 7).unwrap();
        let opened = |at: u64| other.keys_at(start + at).unwrap().open(&ticket);
        let period = u64::from(PERIOD);
        let whole = Some((b"session".to_vec(), 7));
        assert_eq!(opened(0), whole);
        assert_eq!(opened(2 * period - 1), whole);
        assert_eq!(opened(2 * period), None);
    }

    #[test]
    fn nobody_else_opens_it_and_nothing_of_it_can_be_changed() {
        let tickets = Tickets::new().unwrap();
        let ticketer_of = |tickets| ticketer(tickets, None);
        let keys = ticketer_of(&tickets).keys().unwrap();
        let ticket = keys.seal(b"session", NEVER).unwrap();
        let others = [
            ticketer_of(&Tickets::new().unwrap()),
            ticketer(&tickets, Some([1; 32])),
        ];
        for other in others {
            assert_eq!(other.keys().unwrap().open(&ticket), None);
        }
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert_eq!(keys.open(&changed), None, "byte {place}");
            assert_eq!(keys.open(&ticket[..place]), None, "cut at {place}");
        }
        assert_ne!(keys.seal(b"session", 7), keys.seal(b"session", 7));
    }

    #[tokio::test]
    async fn a_session_does_not_outlive_the_certificate_that_its_client_has_shown() {
        let ticketer = ticketer(&Tickets::new().unwrap(), None);
        let now = clock::unix_seconds();
        let ticket_of = |end: Option<i64>| {
            let ticketer = &ticketer;
            Noted::new(async move {
                if let Some(end) = end {
                    session_end::note(end);
                }
                ticketer.encrypt(b"session").unwrap()
            })
        };
        for (end, goes_on) in [
            (None, true),
            (Some(now + 100), true),
            (Some(now - 1), false),
        ] {
            let ticket = ticket_of(end).await;
            let next = Noted::new(async {
                let opened = ticketer.decrypt(&ticket);
                assert_eq!(opened.is_some(), goes_on, "{end:?}");
                assert_eq!(session_end::noted(), end);
            });
            next.await;
        }
    }
}
