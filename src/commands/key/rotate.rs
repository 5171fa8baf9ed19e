//! `destrier key rotate`: another key signs for the token service, and nobody's token is refused meanwhile. The public half of
//! the next key is known before it signs, that of the former one until its tokens have ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::{CommandError, load_config, lock_folder_of, misconfigured, tell};
use super::generate;
use crate::auth::{IssuerKeys, KeySet, SigningKey, UnixTime, algorithm};
use crate::cli::{ConfigArgs, KeyAlgorithm, RotateCommand, RotatePlaceArgs};
use crate::config::{Algorithm, Config, Issuer, KeySource, Tokens};
use crate::key_files::{self, MissingSecret, Standing};
use crate::sys::clock;
use crate::tokens::Signer;

pub(super) fn run(command: &RotateCommand) -> Result<(), CommandError> {
    match command {
        RotateCommand::Add { algorithm, place } => Keys::open(place)?.add(*algorithm),
        RotateCommand::Promote { after, now, place } => {
            Keys::open(place)?.promote((!now).then_some(*after))
        }
        RotateCommand::Retire { now, place } => Keys::open(place)?.retire(*now),
    }
}

/// The files that the configuration names, and those beside them.
struct Keys {
    config: Config,
    tokens: Tokens,
    issuer: Issuer,
    signing_file: PathBuf,
    /// The private key that is to sign next.
    next_file: PathBuf,
    /// The one that signed before.
    previous_file: PathBuf,
    set_file: PathBuf,
    signing: SigningKey,
    set: KeySet,
    /// Held until the command has ended: two at once would undo each other.
    _lock: File,
}

impl Keys {
    fn open(place: &RotatePlaceArgs) -> Result<Self, CommandError> {
        let args = ConfigArgs {
            file: place.config.clone(),
            ..ConfigArgs::default()
        };
        let config = load_config(&args)?;
        let (Some(tokens), Some(issuer)) = (config.auth.tokens.clone(), config.auth.token_issuer())
        else {
            return Err(unfit(
                "there is no token service: the configuration has no `auth.tokens.database`",
            ));
        };
        let issuer = issuer.clone();
        let (Some(signing_file), KeySource::Jwks(set_file)) =
            (&tokens.signing_key_file, &issuer.keys)
        else {
            let message = format!(
                "`auth.tokens` must have a `signing_key_file` and its issuer `{}` a `jwks_file`: only a set can hold the old and the next key",
                issuer.name
            );
            return Err(unfit(&message));
        };
        // Where a link leads, so that the file is replaced and not the link.
        let real = |path: &Path| {
            let real = path.canonicalize();
            real.map_err(|error| refused(&format!("cannot find `{}`: {error}", path.display())))
        };
        let (signing_file, set_file) = (real(signing_file)?, real(set_file)?);
        let lock = lock_folder_of(&signing_file)
            .map_err(|error| cannot("lock the folder of", &signing_file, &error))?;
        let signing =
            key_files::read_signing_key(&signing_file).map_err(|error| refused(&error))?;
        let text = key_files::read_public(&set_file).map_err(|error| refused(&error))?;
        let set = KeySet::read(&text)
            .map_err(|error| refused(&format!("`{}`: {error}", set_file.display())))?;
        if set.holds_secret() {
            let message = format!(
                "`{}` holds a secret or private key; it is published, and may hold public keys only",
                set_file.display()
            );
            return Err(refused(&message));
        }
        if !set.holds(&signing) {
            let message = format!(
                "`{}` does not hold the public half of `{}`, so its tokens are refused as it is",
                set_file.display(),
                signing_file.display()
            );
            return Err(refused(&message));
        }
        Ok(Self {
            next_file: beside(&signing_file, ".next"),
            previous_file: beside(&signing_file, ".previous"),
            config,
            tokens,
            issuer,
            signing_file,
            set_file,
            signing,
            set,
            _lock: lock,
        })
    }

    fn add(mut self, asked: Option<KeyAlgorithm>) -> Result<(), CommandError> {
        let shown = self.next_file.display();
        let found = self.next()?;
        let (next, private) = if let Some(next) = found {
            let kind = kind_of(&next);
            if asked.is_some_and(|asked| asked != kind) {
                let message = format!(
                    "`{shown}` is there already, with a key of another kind ({}); remove it to make another one",
                    algorithm::list(next.algorithms())
                );
                return Err(refused(&message));
            }
            (next, None)
        } else {
            let private = generate::private_key(asked.unwrap_or_else(|| kind_of(&self.signing)))?;
            let next = SigningKey::from_pem(private.as_bytes());
            (
                next.map_err(|error| refused(&error.to_string()))?,
                Some(private),
            )
        };
        let algorithm = self.algorithm_of(&next)?;
        let name = algorithm::name(algorithm);
        if private.is_none() && self.set.holds(&next) {
            tell(&format!(
                "the next key ({name}) is in `{shown}` already, its public half in `{}`",
                self.set_file.display()
            ));
            return self.tell_promotion();
        }
        let (jwk, kid) = next
            .public_jwk_by_thumbprint(Some(algorithm))
            .ok_or_else(|| refused("the public half of the key could not be made"))?;
        if !self.set.has_room() {
            let message = format!(
                "`{}` is full: run `destrier key rotate retire` first",
                self.set_file.display()
            );
            return Err(refused(&message));
        }
        self.set.add(jwk);
        self.check_set()?;
        match &private {
            Some(private) => {
                let standing = self.standing_of_signing()?;
                key_files::create_as(&self.next_file, private.as_bytes(), standing.private())
                    .map_err(|error| cannot("write", &self.next_file, &error))?;
            }
            // From when on it is known counts, not from when on it is there.
            None => touch(&self.next_file)?,
        }
        if let Err(error) = self.write_set() {
            if private.is_some() {
                // Half an addition would only be in the way.
                drop(fs::remove_file(&self.next_file));
            }
            return Err(error);
        }
        tell(&format!(
            "next key `{kid}` ({name}): private in `{shown}`, public in `{}`",
            self.set_file.display()
        ));
        self.tell_promotion()
    }

    /// What comes after an addition.
    fn tell_promotion(&self) -> Result<(), CommandError> {
        let from = modified(&self.next_file)? + crate::cli::PROMOTE_AFTER;
        tell(&format!(
            "from {} on, when whoever fetches the set knows it: `destrier key rotate promote`",
            time(from)
        ));
        Ok(())
    }

    fn promote(self, after: Option<Duration>) -> Result<(), CommandError> {
        let shown = self.next_file.display();
        let Some(next) = self.next()? else {
            if self.previous_file.exists() {
                tell("the next key signs already");
                return self.tell_retirement();
            }
            return Err(refused(&format!(
                "there is no next key in `{shown}`; run `destrier key rotate add` first"
            )));
        };
        if !self.set.holds(&next) {
            let message = format!(
                "`{}` does not hold the public half of `{shown}`, so nobody would believe it; run `destrier key rotate add` again",
                self.set_file.display()
            );
            return Err(refused(&message));
        }
        if let Some(after) = after {
            let from = modified(&self.next_file)? + after;
            if now() < from {
                let message = format!(
                    "the next key was added less than {} ago, and whoever fetched the set before may not know it: wait until {}, or say `--now`",
                    humantime::format_duration(after),
                    time(from)
                );
                return Err(refused(&message));
            }
        }
        self.try_out(next)?;
        // It signs in the place of the former one, so whoever could read that can read it.
        let standing = self.standing_of_signing()?;
        standing
            .put_on(&self.next_file)
            .map_err(|error| cannot("set owner and mode of", &self.next_file, &error))?;
        // There is a key that signs at every moment: the former one stays in its place until the next one takes it.
        key_files::link_over(&self.signing_file, &self.previous_file)
            .map_err(|error| cannot("keep the former key in", &self.previous_file, &error))?;
        touch(&self.previous_file)?;
        fs::rename(&self.next_file, &self.signing_file)
            .map_err(|error| cannot("replace", &self.signing_file, &error))?;
        tell(&format!(
            "`{}` is the next key now, the former one is in `{}`",
            self.signing_file.display(),
            self.previous_file.display()
        ));
        self.tell_retirement()
    }

    /// What comes after a promotion.
    fn tell_retirement(&self) -> Result<(), CommandError> {
        tell(&format!(
            "from {} on, when the tokens of the former one have ended: `destrier key rotate retire`",
            time(self.ended_at()?)
        ));
        Ok(())
    }

    fn retire(mut self, now: bool) -> Result<(), CommandError> {
        let next = self.next()?;
        let mut kept = vec![&self.signing];
        kept.extend(&next);
        let mut set = self.set.clone();
        let gone = set.keep_only(&kept);
        if !gone.is_empty() {
            if !now {
                self.check_ended(&gone)?;
            }
            self.set = set;
            self.check_set()?;
            self.write_set()?;
        }
        // Nobody believes it any more.
        let had_previous = match fs::remove_file(&self.previous_file) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(cannot("remove", &self.previous_file, &error)),
        };
        if gone.is_empty() {
            tell("there is no former key to retire");
        } else {
            tell(&format!(
                "out of `{}`: {}",
                self.set_file.display(),
                gone.iter()
                    .map(|kid| format!("`{kid}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        if had_previous {
            tell(&format!("`{}` is removed", self.previous_file.display()));
        }
        if !gone.is_empty() {
            tell("tokens of the former key are refused from now on");
        }
        Ok(())
    }

    /// Refuses to take out keys whose tokens may still be valid.
    fn check_ended(&self, gone: &[String]) -> Result<(), CommandError> {
        if !self.previous_file.exists() {
            let message = format!(
                "when {} signed for the last time is not known, for there is no `{}`; say `--now` when their tokens have ended",
                gone.join(", "),
                self.previous_file.display()
            );
            return Err(refused(&message));
        }
        let ended = self.ended_at()?;
        if now() < ended {
            let message = format!(
                "tokens of {} may be valid until {}: wait until then, or say `--now` to end them",
                gone.join(", "),
                time(ended)
            );
            return Err(refused(&message));
        }
        Ok(())
    }

    /// When the last token of the former key ends, where it signed until it was replaced.
    fn ended_at(&self) -> Result<SystemTime, CommandError> {
        let longest = self.tokens.longest_lifetime();
        Ok(modified(&self.previous_file)? + longest + self.issuer.leeway)
    }

    fn next(&self) -> Result<Option<SigningKey>, CommandError> {
        if !self.next_file.exists() {
            return Ok(None);
        }
        let key = key_files::read_signing_key(&self.next_file);
        key.map(Some).map_err(|error| refused(&error))
    }

    fn algorithm_of(&self, key: &SigningKey) -> Result<Algorithm, CommandError> {
        Signer::algorithm_of(key, &self.issuer)
            .map_err(|error| refused(&format!("auth.issuer `{}`: {error}", self.issuer.name)))
    }

    /// What is about to be written must be read by those who read it.
    fn check_set(&self) -> Result<(), CommandError> {
        IssuerKeys::from_jwks(self.set.to_text().as_bytes(), &self.issuer.algorithms)
            .map(drop)
            .map_err(|error| refused(&format!("`{}`: {error}", self.set_file.display())))
    }

    fn write_set(&self) -> Result<(), CommandError> {
        key_files::replace(&self.set_file, self.set.to_text().as_bytes())
            .map_err(|error| cannot("write", &self.set_file, &error))
    }

    /// Whether a reload would take the key for the one that signs.
    fn try_out(&self, next: SigningKey) -> Result<(), CommandError> {
        let guard = key_files::load(&self.config.auth, MissingSecret::StandIn)
            .map_err(|errors| misconfigured(&errors))?;
        let now = UnixTime(clock::unix().as_secs());
        Signer::new(&self.tokens, &self.issuer, next, &guard, now)
            .map(drop)
            .map_err(|error| refused(&format!("`{}`: {error}", self.next_file.display())))
    }

    fn standing_of_signing(&self) -> Result<Standing, CommandError> {
        Standing::of(&self.signing_file)
            .map_err(|error| cannot("look at", &self.signing_file, &error))
    }
}

fn kind_of(key: &SigningKey) -> KeyAlgorithm {
    match key.algorithms().first() {
        Some(Algorithm::Es256) => KeyAlgorithm::Es256,
        Some(Algorithm::Es384) => KeyAlgorithm::Es384,
        Some(Algorithm::EdDsa) => KeyAlgorithm::EdDsa,
        Some(Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512) => KeyAlgorithm::Hs256,
        Some(
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512,
        )
        | None => KeyAlgorithm::Rs256,
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// When the file was put there, or last touched.
fn modified(path: &Path) -> Result<SystemTime, CommandError> {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.map_err(|error| cannot("look at", path, &error))
}

/// From now on counts what is about to happen.
fn touch(path: &Path) -> Result<(), CommandError> {
    let touched = File::open(path).and_then(|file| file.set_modified(now()));
    touched.map_err(|error| cannot("touch", path, &error))
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + clock::unix()
}

/// In UTC, as in the log.
fn time(time: SystemTime) -> String {
    // A moment that has begun is not yet over.
    humantime::format_rfc3339_seconds(time + Duration::from_millis(999)).to_string()
}

fn refused(message: &str) -> CommandError {
    CommandError::failure(format!("key rotate: {message}"))
}

fn unfit(message: &str) -> CommandError {
    CommandError::usage(format!("key rotate: {message}"))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> CommandError {
    refused(&format!("cannot {what} `{}`: {error}", path.display()))
}
