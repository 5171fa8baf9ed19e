//! Hashes of passwords: what each kind is written like, how it is checked, and what it costs.

use std::mem::discriminant;
use std::num::NonZeroU32;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::pbkdf2::{self, Algorithm, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use md5::{Digest as _, Md5};

/// A hash stands in a table that others may write to, so it does not decide alone how long a check takes: iterations of PBKDF2,
/// seven times as many as Django 6.1 makes.
const ITERATIONS_MAX: u32 = 10_000_000;
/// Memory of one check in KiB: a quarter of a gibibyte.
const MEMORY_MAX: u32 = 256 * 1024;
/// Passes over that memory, or lanes of it.
const PASSES_MAX: u32 = 16;
/// Rounds of bcrypt, as a power of two.
const BCRYPT_COST_MAX: u32 = 15;

const SHA1_OUTPUT_LEN: usize = 20;
const SCRYPT_OUTPUT_LEN: usize = 64;

/// Iterations of PBKDF2 with SHA-256 in Django 5.2, which prefers that.
pub(super) const PREFERRED_ITERATIONS: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

/// A hash that can be checked, in the form of the PHC or one of Django's
/// (<https://docs.djangoproject.com/en/5.2/topics/auth/passwords/>).
#[derive(Clone)]
pub(super) enum Hash {
    /// `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`, in Django's tables after `argon2`.
    Argon2(Box<PasswordHash>),
    /// `pbkdf2_sha256$ITERATIONS$SALT$HASH`.
    Pbkdf2Sha256(Pbkdf2),
    /// `pbkdf2_sha1$ITERATIONS$SALT$HASH`.
    Pbkdf2Sha1(Pbkdf2),
    /// `bcrypt_sha256$$2b$COST$…`.
    BcryptSha256(String),
    /// `bcrypt$$2b$COST$…`.
    Bcrypt(String),
    /// `scrypt$N$SALT$R$P$HASH`.
    Scrypt {
        salt: String,
        parameters: scrypt::Params,
        hash: Vec<u8>,
    },
    /// `md5$SALT$HASH`.
    Md5 { salt: String, hash: String },
}

/// The parts of a hash by PBKDF2.
#[derive(Clone)]
pub(super) struct Pbkdf2 {
    iterations: NonZeroU32,
    salt: String,
    hash: Vec<u8>,
}

/// What a check takes, as it is written in the hash: two of the same cost look the same to whoever measures the time. Within a
/// kind the greater one takes longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    /// KiB, passes, lanes.
    Argon2(u32, u32, u32),
    /// Iterations.
    Pbkdf2Sha256(NonZeroU32),
    /// Iterations.
    Pbkdf2Sha1(NonZeroU32),
    /// Rounds, as a power of two.
    BcryptSha256(u32),
    /// Rounds, as a power of two.
    Bcrypt(u32),
    /// N as a power of two, r, p.
    Scrypt(u8, u32, u32),
    /// One round.
    Md5,
}

impl Cost {
    /// Whether only numbers differ.
    pub(super) fn is_of_the_kind_of(self, other: Self) -> bool {
        discriminant(&self) == discriminant(&other)
    }
}

impl Hash {
    /// What a check takes.
    pub(super) fn cost(&self) -> Cost {
        let rounds = |hash: &String| {
            let parts = hash.parse::<bcrypt::HashParts>();
            parts.map(|parts| parts.get_cost()).unwrap_or_default()
        };
        match self {
            Self::Argon2(hash) => {
                let parameters = argon2::Params::try_from(&**hash).unwrap_or_default();
                let (memory, passes) = (parameters.m_cost(), parameters.t_cost());
                Cost::Argon2(memory, passes, parameters.p_cost())
            }
            Self::Pbkdf2Sha256(parts) => Cost::Pbkdf2Sha256(parts.iterations),
            Self::Pbkdf2Sha1(parts) => Cost::Pbkdf2Sha1(parts.iterations),
            Self::BcryptSha256(hash) => Cost::BcryptSha256(rounds(hash)),
            Self::Bcrypt(hash) => Cost::Bcrypt(rounds(hash)),
            Self::Scrypt { parameters, .. } => {
                Cost::Scrypt(parameters.log_n(), parameters.r(), parameters.p())
            }
            Self::Md5 { .. } => Cost::Md5,
        }
    }

    /// Reads one; absent when it is of no kind that is known, is not whole, or would take too long.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.starts_with('$') {
            return argon2(text);
        }
        let (algorithm, rest) = text.split_once('$')?;
        match algorithm {
            "argon2" => argon2(&format!("${rest}")),
            "pbkdf2_sha256" => pbkdf2(rest, SHA256_OUTPUT_LEN).map(Self::Pbkdf2Sha256),
            "pbkdf2_sha1" => pbkdf2(rest, SHA1_OUTPUT_LEN).map(Self::Pbkdf2Sha1),
            "bcrypt_sha256" => bcrypt(rest).map(Self::BcryptSha256),
            "bcrypt" => bcrypt(rest).map(Self::Bcrypt),
            "scrypt" => scrypt(rest),
            "md5" => {
                let (salt, hash) = rest.split_once('$')?;
                Some(Self::Md5 {
                    salt: salt.to_owned(),
                    hash: hash.to_owned(),
                })
            }
            _ => None,
        }
    }

    /// Whether the password has it.
    pub(super) fn matches(&self, password: &str) -> bool {
        let password = password.as_bytes();
        match self {
            Self::Argon2(hash) => {
                let verified = Argon2::default().verify_password(password, hash.as_ref());
                verified.is_ok()
            }
            Self::Pbkdf2Sha256(parts) => parts.matches(PBKDF2_HMAC_SHA256, password),
            Self::Pbkdf2Sha1(parts) => parts.matches(PBKDF2_HMAC_SHA1, password),
            Self::BcryptSha256(hash) => {
                let password = hex(digest(&SHA256, password).as_ref());
                bcrypt::non_truncating_verify(password, hash).unwrap_or(false)
            }
            // Of more than 72 bytes, which bcrypt would not look at, it has none: as with Django and bcrypt 5.
            Self::Bcrypt(hash) => bcrypt::non_truncating_verify(password, hash).unwrap_or(false),
            Self::Scrypt {
                salt,
                parameters,
                hash,
            } => {
                let mut made = [0; SCRYPT_OUTPUT_LEN];
                let done = scrypt::scrypt(password, salt.as_bytes(), parameters, &mut made);
                done.is_ok() && verify_slices_are_equal(&made, hash).is_ok()
            }
            Self::Md5 { salt, hash } => {
                let made = Md5::new_with_prefix(salt).chain_update(password);
                let made = hex(&made.finalize());
                verify_slices_are_equal(made.as_bytes(), hash.as_bytes()).is_ok()
            }
        }
    }

    /// Whether a current Django would make one of this kind that is no weaker.
    pub(super) fn is_preferred(&self) -> bool {
        matches!(self, Self::Pbkdf2Sha256(parts) if parts.iterations >= PREFERRED_ITERATIONS)
    }

    /// How many iterations checking `usual` takes more than this, where both are of the kind that Django prefers: a hash
    /// that is older than the others shall not give away that its user exists.
    pub(super) fn missing(&self, usual: &Self) -> Option<NonZeroU32> {
        let (Self::Pbkdf2Sha256(own), Self::Pbkdf2Sha256(usual)) = (self, usual) else {
            return None;
        };
        let missing = usual.iterations.get().checked_sub(own.iterations.get());
        missing.and_then(NonZeroU32::new)
    }
}

/// Does the work of so many iterations of the kind that Django prefers, for nothing.
pub(super) fn waste(iterations: NonZeroU32, password: &str) {
    let mut nothing = [0; SHA256_OUTPUT_LEN];
    let salt = b"nobody is here 1";
    pbkdf2::derive(
        PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password.as_bytes(),
        &mut nothing,
    );
}

impl Pbkdf2 {
    fn matches(&self, algorithm: Algorithm, password: &[u8]) -> bool {
        // The salt is text, it is not decoded.
        let salt = self.salt.as_bytes();
        pbkdf2::verify(algorithm, self.iterations, salt, password, &self.hash).is_ok()
    }
}

/// The hash of a new password (RFC 9106), with the parameters that OWASP recommends, which are the crate's.
pub(in crate::tokens) fn hash(password: &str) -> Result<String, password_hash::Error> {
    let hash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// The hash that Django prefers. Absent without random numbers.
pub(super) fn hash_for_django(password: &str) -> Option<String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).ok()?;
    // 22 characters, as many as Django's have, and none of them is a `$`.
    let salt = URL_SAFE_NO_PAD.encode(salt);
    let mut hash = [0; SHA256_OUTPUT_LEN];
    let (iterations, password) = (PREFERRED_ITERATIONS, password.as_bytes());
    pbkdf2::derive(
        PBKDF2_HMAC_SHA256,
        iterations,
        salt.as_bytes(),
        password,
        &mut hash,
    );
    let hash = STANDARD.encode(hash);
    Some(format!("pbkdf2_sha256${iterations}${salt}${hash}"))
}

fn argon2(phc: &str) -> Option<Hash> {
    let hash = PasswordHash::new(phc).ok()?;
    let parameters = argon2::Params::try_from(&hash).ok()?;
    let is_bearable = parameters.m_cost() <= MEMORY_MAX
        && parameters.t_cost() <= PASSES_MAX
        && parameters.p_cost() <= PASSES_MAX;
    (is_bearable && hash.hash.is_some()).then(|| Hash::Argon2(Box::new(hash)))
}

fn pbkdf2(rest: &str, length: usize) -> Option<Pbkdf2> {
    let mut parts = rest.splitn(3, '$');
    let iterations: NonZeroU32 = parts.next()?.parse().ok()?;
    let salt = parts.next()?.to_owned();
    let hash = STANDARD.decode(parts.next()?).ok()?;
    (iterations.get() <= ITERATIONS_MAX && hash.len() == length).then_some(Pbkdf2 {
        iterations,
        salt,
        hash,
    })
}

fn bcrypt(hash: &str) -> Option<String> {
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    (parts.get_cost() <= BCRYPT_COST_MAX).then(|| hash.to_owned())
}

fn scrypt(rest: &str) -> Option<Hash> {
    let mut parts = rest.splitn(5, '$');
    let n: u64 = parts.next()?.parse().ok()?;
    let salt = parts.next()?.to_owned();
    let r: u32 = parts.next()?.parse().ok()?;
    let p: u32 = parts.next()?.parse().ok()?;
    let hash = STANDARD.decode(parts.next()?).ok()?;
    // RFC 7914 section 2: 128 * N * r bytes.
    let memory = n.checked_mul(u64::from(r))? / 8;
    let is_bearable = n.is_power_of_two() && memory <= u64::from(MEMORY_MAX) && p <= PASSES_MAX;
    if !is_bearable || hash.len() != SCRYPT_OUTPUT_LEN {
        return None;
    }
    let parameters = scrypt::Params::new(u8::try_from(n.ilog2()).ok()?, r, p).ok()?;
    Some(Hash::Scrypt {
        salt,
        parameters,
        hash,
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Made by Django 5.2 of `correct horse`, with few rounds so that a debug build takes no time.
    pub(in super::super) const OF_DJANGO: [&str; 7] = [
        "pbkdf2_sha256$1000$saltySALT$OlPcyeXVkRS1zlq2EGhHQnLlAJa+hGOmNB9iBElamF4=",
        "pbkdf2_sha1$1000$saltySALT$TyTA4cH2QWBezRbRUdap+1wJI1k=",
        "argon2$argon2id$v=19$m=64,t=2,p=2$c2FsdHlTQUxU$UlhEUNWKtQBhj1C92KOOuWA/qZnhg1ez64Y7UXm7uO8",
        "bcrypt_sha256$$2b$04$OhhEoO.kLMGhfkO8mdmLtONh11HARgK7Dr52bRnuPfp.h.uk.IPwm",
        "bcrypt$$2b$04$Ynhd1vr/vlswHOq6C.7ADOCOeXgEbvFjO8CFrsOnq/qSmqER4d6bi",
        "scrypt$16$saltySALT$8$2$xqvFjkSMMTjABJvyFd8X/jmnf1L8+4KjxdEcE1xqnrwwk4XlIQgttN8qRxnTfKAuER0Kwq/cd371DlEagFkXHQ==",
        "md5$saltySALT$76e05e79840e801b1bc0b003559e1c03",
    ];

    #[test]
    fn a_password_matches_each_hash_that_django_makes_of_it_and_no_other_does() {
        for text in OF_DJANGO {
            let hash = Hash::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert!(hash.matches("correct horse"), "{text}");
            assert!(
                !hash.matches("Correct horse") && !hash.matches(""),
                "{text}"
            );
        }
    }

    #[test]
    fn a_hash_that_is_not_whole_or_would_take_too_long_is_none() {
        let sha256 = STANDARD.encode([0; 32]);
        for text in [
            "",
            "!",
            "!abcdefgh",
            "x",
            "sha1$a$b",
            "pbkdf2_sha256$x$y$z",
            "pbkdf2_sha256$1$a$",
            &format!("pbkdf2_sha256$0$a${sha256}"),
            &format!("pbkdf2_sha256$10000001$a${sha256}"),
            &format!("pbkdf2_sha1$1$a${sha256}"),
            "bcrypt$",
            "bcrypt$$2b$04$short",
            "bcrypt$$2b$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "scrypt$16384$a$8$1$AAAA",
            &format!("scrypt$4194304$a$8$1${}", STANDARD.encode([0; 64])),
            &format!("scrypt$16383$a$8$1${}", STANDARD.encode([0; 64])),
            &format!("scrypt$0$a$8$1${}", STANDARD.encode([0; 64])),
            &format!("scrypt$2$a$8$4000000${}", STANDARD.encode([0; 64])),
            "argon2$argon2id$v=19$m=4194304,t=2,p=8$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "argon2$argon2id$v=19$m=8,t=2,p=1$c2FsdHNhbHQ",
            "md5$x",
        ] {
            assert!(Hash::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_new_hash_for_django_is_the_one_it_prefers() {
        let made = hash_for_django("correct horse").unwrap();
        assert!(made.starts_with("pbkdf2_sha256$1000000$"), "{made}");
        assert_eq!(made.split('$').nth(2).unwrap().len(), 22);
        assert!(Hash::parse(&made).unwrap().is_preferred());
        assert!(Hash::parse(&made).unwrap().matches("correct horse"));
        for text in OF_DJANGO {
            assert!(!Hash::parse(text).unwrap().is_preferred(), "{text}");
        }
    }

    #[test]
    fn a_new_hash_is_an_argon2id_string_with_a_salt_of_its_own() {
        let made = hash("correct horse").unwrap();
        assert!(
            made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{made}"
        );
        assert_ne!(made, hash("correct horse").unwrap());
        assert!(Hash::parse(&made).unwrap().matches("correct horse"));
    }
}
