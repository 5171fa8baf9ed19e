//! Reads the key files of the configuration and makes the guard of them: the I/O that `auth` does not do.

mod feed;
mod file;
mod files;
mod replace;
mod secrets;
mod tls;

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::{DenyList, DenyListText, Guard, IssuerKeys, KeyError, SigningKey, UnixTime};
use crate::config::{self, DenyListSource, Issuer, KeySource};
use crate::sys::clock;

pub(crate) use feed::read_feed;
pub(crate) use file::{KeyFile, Secrecy};
pub(crate) use files::Files;
pub(crate) use replace::{Standing, create, create_as, link_over, replace, replace_with};
pub(crate) use secrets::{Secrets, load_collector_access, load_database_password, load_signer};
pub(crate) use tls::{LoadedTls, load_tls};

/// What is done about a secret that is missing where `create_missing` lets it be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingSecret {
    /// It is made.
    Make,
    /// Another one, which nobody will know, stands in for it: for a look that leaves no trace.
    StandIn,
    /// It is an error: nothing can have been signed with it.
    Refuse,
}

/// Tells whether a key file is still what it was, and nothing of what is in it: SHA-256 of its bytes.
pub(crate) type Digest = [u8; 32];

/// Reads the keys of every issuer and joins them with the rules. Returns everything that is wrong at once,
/// each naming the file, the problem and what helps.
pub(crate) fn load(auth: &config::Auth, missing: MissingSecret) -> Result<Guard, Vec<String>> {
    load_with_digests(&Files::on_disk(), auth, missing).map(|(guard, _)| guard)
}

/// As [`load`], with the digest of the file of each feed, in the order of `auth.feeds()`; none where another secret stands in
/// for one that is missing.
fn load_with_digests(
    files: &Files,
    auth: &config::Auth,
    missing: MissingSecret,
) -> Result<(Guard, Vec<Option<Digest>>), Vec<String>> {
    let mut errors = Vec::new();
    let mut keys = Vec::with_capacity(auth.issuers.len());
    let mut digests = Vec::with_capacity(auth.issuers.len());
    let signing_key = feed::digest_of_signing_key(files, auth);
    for issuer in &auth.issuers {
        match load_issuer(files, issuer, missing) {
            Ok((issuer_keys, digest)) => {
                keys.push(issuer_keys);
                digests.push(digest);
            }
            Err(error) => errors.push(format!("auth.issuer `{}`: {error}", issuer.name)),
        }
    }
    digests.extend(signing_key);
    let mut lists = Vec::with_capacity(auth.revocation.lists.len());
    for list in &auth.revocation.lists {
        let path = match list {
            DenyListSource::File(path) => path,
            DenyListSource::Remote(_) => {
                digests.push(None);
                lists.push(None);
                continue;
            }
        };
        let read = deny_list_file(files, path).and_then(|file| {
            let list = DenyList::parse(file.bytes()).map_err(|error| file.unusable(&error))?;
            Ok((file.digest(), list))
        });
        match read {
            Ok((digest, list)) => {
                digests.push(digest);
                lists.push(Some(list));
            }
            Err(error) => errors.push(format!("auth.revocation: {error}")),
        }
    }
    if !errors.is_empty() {
        // The rules are judged too, so that the operator sees all errors in one go; the keys are told already.
        let rules_only = config::Auth {
            issuers: Vec::new(),
            ..auth.clone()
        };
        let rules = Guard::new(&rules_only, Vec::new()).err();
        errors.extend(rules.iter().flatten().map(ToString::to_string));
        return Err(errors);
    }
    match Guard::new(auth, keys) {
        Ok(guard) => {
            for (place, list) in lists.into_iter().enumerate() {
                if let Some(list) = list {
                    guard.renew_deny_list(place, list, None);
                }
            }
            Ok((guard, digests))
        }
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

/// The key that the token service signs with: the issuer's secret, or the private key that goes with its public ones.
fn load_signing_key(
    files: &Files,
    tokens: &config::Tokens,
    issuer: &Issuer,
) -> Result<SigningKey, String> {
    match (&issuer.keys, &tokens.signing_key_file) {
        (KeySource::Secret { file, .. }, _) => signing_secret(files, file),
        (KeySource::PublicKey(_) | KeySource::Jwks(_), Some(file)) => {
            signing_key_in(&files.read(file)?)
        }
        (KeySource::PublicKey(_) | KeySource::Jwks(_), None) => {
            Err("there is no `signing_key_file`".to_owned())
        }
        (KeySource::Remote(_), _) => Err(FETCHED.to_owned()),
    }
}

/// A key that signs, from a file of any kind: PEM, which other text may precede, JWK or secret.
pub(crate) fn read_signing_key(path: &Path) -> Result<SigningKey, String> {
    let file = KeyFile::read(path)?;
    signing_key_in(&file)
}

fn signing_key_in(file: &KeyFile<'_>) -> Result<SigningKey, String> {
    // That anybody can read it is not what is wrong with a public key, so what it holds is judged first.
    let key = SigningKey::read(file.content()?).map_err(|error| file.unusable(&error))?;
    file.judge(Secrecy::Secret)?;
    Ok(key)
}

/// The deny list in a file that nobody can write who should not.
pub(crate) fn read_deny_list(path: &Path) -> Result<DenyListText, String> {
    let file = deny_list_file(&Files::on_disk(), path)?;
    DenyListText::parse(file.bytes()).map_err(|error| file.unusable(&error))
}

/// The file of a deny list; what is in it is not judged yet.
fn deny_list_file<'a>(files: &Files, path: &'a Path) -> Result<KeyFile<'a>, String> {
    if files.is_missing(path) {
        let shown = path.display();
        return Err(format!(
            "`{shown}` does not exist; a list with nothing on it is {{\"revoked\": []}}"
        ));
    }
    let file = files.read_up_to(config::DENY_LIST_MAX, path)?;
    file.judge(Secrecy::Public)?;
    Ok(file)
}

/// As [`read_signing_key`], of a file that can only be a secret.
pub(crate) fn read_signing_secret(file: &Path) -> Result<SigningKey, String> {
    signing_secret(&Files::on_disk(), file)
}

fn signing_secret(files: &Files, file: &Path) -> Result<SigningKey, String> {
    let secret = read_secret(files, file)?;
    SigningKey::from_secret(&secret).map_err(|error| format!("`{}`: {error}", file.display()))
}

/// The secrets that the start would make.
pub(crate) fn to_be_made(auth: &config::Auth) -> impl Iterator<Item = (&Issuer, &Path)> {
    let secrets = auth
        .issuers
        .iter()
        .filter_map(|issuer| Some((issuer, made_when_missing(issuer)?)));
    secrets.filter(|(_, file)| is_missing(file))
}

/// The file of its secret, where that is made.
fn made_when_missing(issuer: &Issuer) -> Option<&Path> {
    match &issuer.keys {
        KeySource::Secret {
            file,
            create_missing: true,
        } => Some(file),
        KeySource::Secret { .. }
        | KeySource::PublicKey(_)
        | KeySource::Jwks(_)
        | KeySource::Remote(_) => None,
    }
}

/// Why the keys of one issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file is not there, or is not what it was said to be.
    #[error("{0}")]
    File(String),
    /// It is a key set, but none of its keys can have signed a token that is accepted.
    #[error("{0}")]
    NoKey(String),
}

/// Reads the keys of one issuer of the configuration.
fn load_issuer(
    files: &Files,
    issuer: &Issuer,
    missing: MissingSecret,
) -> Result<(IssuerKeys, Option<Digest>), LoadError> {
    let source = &issuer.keys;
    if let KeySource::Remote(_) = source {
        return Ok((IssuerKeys::none(), None));
    }
    let path = path_of(source)?;
    if let KeySource::Secret { create_missing, .. } = source
        && *create_missing
        && files.is_missing(path)
    {
        let stand_in = absent_secret(path, missing).map_err(LoadError::File)?;
        if let Some(secret) = stand_in {
            let keys = IssuerKeys::from_secret(&secret, &issuer.algorithms);
            let keys = keys.map_err(|error| LoadError::File(error.to_string()));
            return Ok((keys?, None));
        }
    }
    let file = files.read(path).map_err(LoadError::File)?;
    let keys = keys_of(&file, issuer)?;
    Ok((keys, file.digest()))
}

/// The keys in a file that nobody can reach who should not.
fn keys_of(file: &KeyFile<'_>, issuer: &Issuer) -> Result<IssuerKeys, LoadError> {
    file.judge(least_secrecy(&issuer.keys))
        .map_err(LoadError::File)?;
    let keys = keys_in(file, issuer)?;
    if keys.holds_secret() {
        file.judge(Secrecy::Secret)
            .map_err(|error| LoadError::File(format!("a secret or private key: {error}")))?;
    }
    Ok(keys)
}

/// Reads the keys that a command line names, with what should be told about them. They are used once and protect
/// nothing, so that who can reach them is a warning, and a pipe will do.
pub(crate) fn load_named(issuer: &Issuer) -> Result<(IssuerKeys, Option<String>), LoadError> {
    let file = KeyFile::read_any(path_of(&issuer.keys)?).map_err(LoadError::File)?;
    let keys = keys_in(&file, issuer)?;
    let secrecy = if keys.holds_secret() {
        Secrecy::Secret
    } else {
        least_secrecy(&issuer.keys)
    };
    Ok((keys, file.judge(secrecy).err()))
}

fn keys_in(file: &KeyFile<'_>, issuer: &Issuer) -> Result<IssuerKeys, LoadError> {
    let content = file.content().map_err(LoadError::File)?;
    let keys = IssuerKeys::read(issuer, content);
    let mut keys = keys.map_err(|error| unusable(file, &error))?;
    keys.warn_of_dates(UnixTime(clock::unix().as_secs()));
    Ok(keys)
}

fn unusable(file: &KeyFile<'_>, error: &KeyError) -> LoadError {
    let told = file.unusable(error);
    if matches!(error, KeyError::NoKey(_)) {
        LoadError::NoKey(told)
    } else {
        LoadError::File(told)
    }
}

fn path_of(source: &KeySource) -> Result<&Path, LoadError> {
    match source {
        KeySource::Secret { file, .. } | KeySource::PublicKey(file) | KeySource::Jwks(file) => {
            Ok(file)
        }
        KeySource::Remote(_) => Err(LoadError::File(FETCHED.to_owned())),
    }
}

const FETCHED: &str = "its keys are fetched, they are in no file";

/// What a file of this kind must be, whatever is in it.
const fn least_secrecy(source: &KeySource) -> Secrecy {
    match source {
        KeySource::Secret { .. } => Secrecy::Secret,
        KeySource::PublicKey(_) | KeySource::Jwks(_) | KeySource::Remote(_) => Secrecy::Public,
    }
}

/// Nothing is there, not even a link that leads nowhere.
fn is_missing(file: &Path) -> bool {
    matches!(fs::symlink_metadata(file), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Makes the secret, or gives one that stands in for it.
fn absent_secret(file: &Path, missing: MissingSecret) -> Result<Option<Vec<u8>>, String> {
    match missing {
        MissingSecret::Make => create_secret(file).map(|()| None),
        MissingSecret::StandIn if !folder_of(file).is_dir() => Err(cannot_make(file, NO_FOLDER)),
        MissingSecret::StandIn => match random_secret::<64>() {
            Ok(secret) => Ok(Some(secret.into_bytes())),
            Err(error) => Err(cannot_make(file, &error)),
        },
        MissingSecret::Refuse => Err(format!(
            "`{}` does not exist; destrier makes it when it starts or issues a token",
            file.display()
        )),
    }
}

/// The bytes of a file that anybody may read and only those who should can write.
pub(crate) fn read_public(path: &Path) -> Result<Vec<u8>, String> {
    let file = KeyFile::read(path)?;
    file.judge(Secrecy::Public)?;
    Ok(file.bytes().to_vec())
}

/// The secret in a file that nobody can reach who should not.
fn read_secret(files: &Files, path: &Path) -> Result<Vec<u8>, String> {
    let file = files.read(path)?;
    file.judge(Secrecy::Secret)?;
    Ok(file.content()?.to_vec())
}

/// Makes the secret when there is none yet, readable by its owner only.
pub(crate) fn create_secret(file: &Path) -> Result<(), String> {
    if !is_missing(file) {
        return Ok(());
    }
    let made = random_secret::<64>().and_then(|secret| create(file, secret.as_bytes(), 0o600));
    match made {
        Ok(()) => Ok(()),
        // Another process was first; its secret is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(cannot_make(file, &error)),
    }
}

fn cannot_make(file: &Path, reason: impl Display) -> String {
    format!("cannot make `{}`: {reason}", file.display())
}

const NO_FOLDER: &str = "its folder does not exist";

/// The folder that a file is in, or would be.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Random bytes as base64url text, which survives every editor and environment.
pub(crate) fn random_secret<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn put(folder: &TempDir, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn auth(keys: Vec<KeySource>) -> config::Auth {
        let issuer = |keys| Issuer {
            name: "main".to_owned(),
            keys,
            issuer: None,
            audience: Vec::new(),
            algorithms: Vec::new(),
            leeway: Duration::ZERO,
            require: Vec::new(),
            claims: std::collections::BTreeMap::new(),
            typ: Vec::new(),
            binding: config::Binding::None,
            signs_refresh_tokens: false,
            signs_sliding_tokens: false,
        };
        config::Auth {
            realm: "test".to_owned(),
            issuers: keys.into_iter().map(issuer).collect(),
            ..config::Auth::default()
        }
    }

    fn secret(file: PathBuf, create_missing: bool) -> KeySource {
        KeySource::Secret {
            file,
            create_missing,
        }
    }

    fn problems(keys: Vec<KeySource>) -> Vec<String> {
        load(&auth(keys), MissingSecret::Make).unwrap_err()
    }

    #[test]
    fn a_file_that_is_no_key_file_is_told_with_its_name() {
        let folder = folder();
        let missing = folder.path().join("missing");
        for (path, problem) in [
            (missing, "does not exist"),
            (folder.path().to_owned(), "is a directory"),
            (put(&folder, "empty", b"", 0o600), "is empty"),
            (put(&folder, "line", b"\n", 0o600), "is empty"),
            (
                put(&folder, "short", b"0123456789\n", 0o600),
                "has 10 bytes, HS256 needs at least 32",
            ),
            (
                put(&folder, "large", &vec![b'a'; 1024 * 1024 + 1], 0o600),
                "is larger",
            ),
            ("/dev/null".into(), "is not a regular file"),
        ] {
            let errors = problems(vec![secret(path.clone(), false)]);
            assert_eq!(errors.len(), 1);
            let start = format!("auth.issuer `main`: `{}`", path.display());
            assert!(errors[0].starts_with(&start), "{errors:?}");
            assert!(errors[0].contains(problem), "{errors:?}");
        }
    }

    #[test]
    fn a_secret_that_others_can_reach_is_refused_with_the_fix() {
        let folder = folder();
        for (mode, is_refused) in [
            (0o600, false),
            (0o400, false),
            (0o640, false),
            (0o644, true),
            (0o604, true),
            (0o660, true),
            (0o620, true),
            (0o602, true),
        ] {
            let path = put(&folder, "secret", &[b'a'; 64], mode);
            let result = read_secret(&Files::on_disk(), &path);
            assert_eq!(result.is_err(), is_refused, "{mode:o}");
            if let Err(error) = result {
                let fix = format!("run `chmod 600 {}`", path.display());
                assert!(error.ends_with(&fix), "{error}");
            }
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_key_set_with_a_secret_is_a_secret() {
        let folder = folder();
        let set = format!(r#"{{"kty":"oct","k":"{}"}}"#, "A".repeat(64));
        let path = put(&folder, "jwks.json", set.as_bytes(), 0o644);
        assert!(problems(vec![KeySource::Jwks(path)])[0].contains("chmod 600"));
        let path = put(&folder, "private.json", set.as_bytes(), 0o600);
        assert!(load(&auth(vec![KeySource::Jwks(path)]), MissingSecret::Make).is_ok());
    }

    #[test]
    fn a_key_set_with_a_private_key_is_a_secret() {
        let folder = folder();
        let secret = "A".repeat(64);
        let private = r#"{"kty":"EC","crv":"P-256","d":"AAAA"}"#;
        let set = format!(r#"{{"keys":[{{"kty":"oct","k":"{secret}"}},{private}]}}"#);
        let path = put(&folder, "jwks.json", set.as_bytes(), 0o644);
        let errors = problems(vec![KeySource::Jwks(path)]);
        assert!(
            errors[0].contains("a secret or private key: "),
            "{errors:?}"
        );
        let path = put(&folder, "private.json", set.as_bytes(), 0o600);
        let guard = load(&auth(vec![KeySource::Jwks(path)]), MissingSecret::Make).unwrap();
        let warnings = guard.warnings();
        assert!(warnings[0].contains("holds a private key"), "{warnings:?}");
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let folder = folder();
        let missing = folder.path().join("missing");
        let no_pem = put(&folder, "key.pem", b"x", 0o644);
        let no_set = put(&folder, "jwks.json", b"x", 0o644);
        let mut config = auth(vec![
            secret(missing, false),
            KeySource::PublicKey(no_pem),
            KeySource::Jwks(no_set),
        ]);
        config.rules = vec![config::Rule {
            path: "no-slash".to_owned(),
            methods: Vec::new(),
            access: config::Access::Public,
            hosts: Vec::new(),
            scopes: Vec::new(),
            any_scopes: Vec::new(),
            max_age: None,
            audit: false,
            query_token: None,
            client_cert: None,
            rate: None,
            roles: Vec::new(),
            claims: std::collections::BTreeMap::new(),
            request_timeout: None,
            max_body: u64::MAX,
        }];
        assert_eq!(load(&config, MissingSecret::Make).unwrap_err().len(), 4);
    }

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_the_secret() {
        let folder = folder();
        for (bytes, secret) in [
            (&b"a"[..], &b"a"[..]),
            (b"a\n", b"a"),
            (b"a\r\n", b"a"),
            (b"a\n\n", b"a\n"),
            (b" a ", b" a "),
        ] {
            let path = put(&folder, "secret", bytes, 0o600);
            assert_eq!(read_secret(&Files::on_disk(), &path).unwrap(), secret);
        }
    }

    #[test]
    fn a_missing_secret_is_made_once() {
        let folder = folder();
        let path = folder.path().join("secret");
        let source = || vec![secret(path.clone(), true)];
        assert!(load(&auth(source()), MissingSecret::Make).is_ok());
        let made = fs::read(&path).unwrap();
        assert_eq!(made.len(), 86);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(load(&auth(source()), MissingSecret::Make).is_ok());
        assert_eq!(fs::read(&path).unwrap(), made);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_look_makes_no_secret_and_says_which_one_the_start_would_make() {
        let folder = folder();
        let path = folder.path().join("secret");
        let config = auth(vec![secret(path.clone(), true)]);
        assert!(load(&config, MissingSecret::StandIn).is_ok());
        let error = load(&config, MissingSecret::Refuse).unwrap_err();
        assert!(error[0].contains("destrier makes it"), "{error:?}");
        let told: Vec<_> = to_be_made(&config).map(|(_, file)| file).collect();
        assert_eq!(told, [path]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let nowhere = folder.path().join("missing/secret");
        let config = auth(vec![secret(nowhere, true)]);
        let error = load(&config, MissingSecret::StandIn).unwrap_err();
        assert!(error[0].contains("its folder does not exist"), "{error:?}");
        let refused = auth(vec![secret(folder.path().join("secret"), false)]);
        assert!(load(&refused, MissingSecret::StandIn).is_err());
        assert_eq!(to_be_made(&refused).count(), 0);
    }

    #[test]
    fn a_file_is_made_whole_or_not_at_all_and_never_replaces_one() {
        let folder = folder();
        let path = put(&folder, "key", b"old", 0o600);
        let error = create(&path, b"new", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(create(&folder.path().join("missing/key"), b"new", 0o600).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
