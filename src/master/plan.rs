//! What a reload would do, for `destrier plan`: what serves is compared with what lies on disk. Nothing is opened, made or
//! changed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::boot::{assert_reloadable, fixed_keys_that_differ, pin, worker_count};
use super::{Loaded, Master, Pinned, Purpose, status};
use crate::config::{
    Bind, Difference, Feed, FeedPurpose, FeedSource, Overridden, Reload, Strategy, differences,
};

/// The answer to `plan`. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What a reload would come to.
    pub outcome: Outcome,
    /// The configuration file; empty where there is none.
    pub config: String,
    /// The generation that serves.
    pub generation: u64,
    /// Keys whose value differs, with those that something overrides in vain.
    pub changes: Vec<Change>,
    /// Every address, of both sides.
    pub listeners: Vec<ListenerPlan>,
    /// The keys of every issuer, the key that the token service signs with, and the deny lists.
    pub key_files: Vec<KeyFilePlan>,
    /// The processes.
    pub workers: WorkersPlan,
    /// Whether the system's users and groups have changed, so that workers would get other numbers by the same names.
    pub identity_changed: bool,
    /// Why a reload would be refused; empty: it would not be.
    pub refused: Vec<String>,
    /// What the operator should look at in the new configuration.
    pub warnings: Vec<String>,
}

/// What a reload would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A new generation of the same.
    Nothing,
    /// A new generation of something else.
    Changes,
    /// Nothing, for it would be refused.
    Refused,
}

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It stays as it is.
    Keep,
    /// The workers of the new generation have it.
    Restart,
    /// Addresses are opened or closed.
    Rebind,
    /// A reload cannot do it.
    Refuse,
}

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `workers.count`, `auth.rule[2].path`; `auth.rule[2]` for a whole table that only one side has.
    pub key: String,
    /// What serves, as TOML; null when it has no value.
    pub before: Option<String>,
    /// What lies on disk, as TOML; null when it has no value.
    pub after: Option<String>,
    /// What becomes of it.
    pub effect: Effect,
    /// Where `after` stands: a place in the file, a variable, a flag, `default`; null when nothing is there.
    pub origin: Option<String>,
    /// The variable or flag of the master that makes this change of the file one without effect.
    pub overridden_by: Option<String>,
}

/// What becomes of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerPlan {
    /// As configured.
    pub bind: String,
    /// What becomes of it.
    pub effect: ListenerEffect,
    /// Why it could not be opened.
    pub problem: Option<String>,
}

/// What becomes of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerEffect {
    /// It stays open; nobody notices.
    Keep,
    /// It is opened.
    Open,
    /// It is closed when what waits there has been served.
    Close,
    /// It cannot be opened.
    Refuse,
}

/// What becomes of keys or of a deny list; a file is compared by a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFilePlan {
    /// `keys`, `signing-key` or `deny-list`.
    #[serde(default)]
    pub purpose: String,
    /// The name of the issuer; empty for a deny list.
    pub issuer: String,
    /// Where they are: a file, or the address that they are fetched from, without its query.
    pub file: String,
    /// Keep or restart.
    pub effect: Effect,
    /// Why it is not kept.
    pub reason: Option<String>,
}

/// What becomes of the processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersPlan {
    /// How many shall serve now: 0 in a pause.
    pub before: u16,
    /// How many would.
    pub after: u16,
    /// How `after` came about.
    pub because: String,
    /// How `before` came about, where that is not by the configuration: `destrier scale` or a signal, and a reload forgets it.
    pub scaled: bool,
    /// Keep or restart: whether their number changes. A new generation boots in any case.
    pub effect: Effect,
    /// How the new generation would take over: `blue-green` or `rolling`.
    pub strategy: Strategy,
    /// Rolling: workers beyond `after`.
    pub max_surge: u16,
    /// Rolling: workers that may be missing.
    pub max_unavailable: u16,
}

impl Master {
    /// Reads what a reload would read, and says what would come of it.
    ///
    /// # Errors
    /// Nothing serves that it could be compared with, or what lies on disk is no configuration: all that is wrong with it.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        if self.supervisor.is_stopping() {
            return Err("the master is stopping".to_owned());
        }
        let (Some(generation), Some(before)) = (self.supervisor.serving(), self.serving()) else {
            return Err("no generation serves yet that a plan could start from".to_owned());
        };
        let loaded = (self.loader.0)(Purpose::Look);
        let pinned = loaded
            .and_then(|loaded| pin(loaded, self.processors).map_err(|error| error.to_string()));
        let (after, policy) =
            pinned.map_err(|reason| format!("{reason}\na reload would be refused"))?;
        let (old, new) = (&before.loaded.config, &after.loaded.config);
        let listeners = self.plan_listeners(&old.server.bind, &after.loaded);
        let fixed = assert_reloadable(old, new).err();
        let problems = listeners.iter().filter_map(|it| it.problem.clone());
        let of_admin = self.admin.rehearse(new);
        let mut refused_keys = fixed_keys_that_differ(old, new);
        if !of_admin.is_empty() {
            refused_keys.push("admin.bind");
        }
        let refused: Vec<String> = fixed
            .into_iter()
            .chain(problems)
            .chain(of_admin.iter().map(ToString::to_string))
            .collect();
        let changes = changes(&before.loaded, &after.loaded, &refused_keys, &listeners);
        let key_files = key_files(before, &after.loaded);
        let wanted = self.supervisor.wanted();
        let workers = workers(
            (wanted, worker_count(old.workers.count, self.processors)),
            policy.workers,
            status::because(policy.workers, new.workers.count, self.processors),
            &new.reload,
        );
        let identity_changed = old.process == new.process && before.identity != after.identity;
        let is_kept = |effect: Effect| effect == Effect::Keep;
        let nothing = changes.iter().all(|it| is_kept(it.effect))
            && key_files.iter().all(|it| is_kept(it.effect))
            && is_kept(workers.effect)
            && !identity_changed;
        Ok(Plan {
            outcome: match (refused.is_empty(), nothing) {
                (false, _) => Outcome::Refused,
                (true, true) => Outcome::Nothing,
                (true, false) => Outcome::Changes,
            },
            config: after.loaded.file().unwrap_or_default(),
            generation: generation.0,
            changes,
            listeners,
            key_files,
            workers,
            identity_changed,
            refused,
            warnings: after.loaded.warnings,
        })
    }

    fn plan_listeners(&self, before: &[Bind], after: &Loaded) -> Vec<ListenerPlan> {
        let server = &after.config.server;
        let of_after = server.bind.iter().map(|bind| {
            let (effect, problem) = match self.listeners.rehearse(bind, server) {
                Ok(true) => (ListenerEffect::Keep, None),
                Ok(false) => (ListenerEffect::Open, None),
                Err(error) => (ListenerEffect::Refuse, Some(error.to_string())),
            };
            (bind, effect, problem)
        });
        let closed = before.iter().filter(|bind| !server.bind.contains(bind));
        let closed = closed.map(|bind| (bind, ListenerEffect::Close, None));
        of_after
            .chain(closed)
            .map(|(bind, effect, problem)| ListenerPlan {
                bind: bind.to_string(),
                effect,
                problem,
            })
            .collect()
    }
}

fn changes(
    before: &Loaded,
    after: &Loaded,
    refused: &[&str],
    listeners: &[ListenerPlan],
) -> Vec<Change> {
    let mut changes: Vec<Change> = differences(&before.settings, &after.settings)
        .into_iter()
        .map(|difference| {
            let Difference {
                key,
                before,
                after,
                origin,
            } = difference;
            Change {
                effect: effect_of(&key, refused, listeners),
                key,
                before,
                after,
                origin: origin.map(|origin| origin.to_string()),
                overridden_by: None,
            }
        })
        .collect();
    changes.extend(in_vain(&before.overridden, &after.overridden));
    changes
}

fn effect_of(key: &str, refused: &[&str], listeners: &[ListenerPlan]) -> Effect {
    if refused.contains(&key) {
        return Effect::Refuse;
    }
    let becomes = |effect| listeners.iter().any(|listener| listener.effect == effect);
    if !["server.bind", "tls.bind"].contains(&key) {
        Effect::Restart
    } else if becomes(ListenerEffect::Refuse) {
        Effect::Refuse
    } else if becomes(ListenerEffect::Open) || becomes(ListenerEffect::Close) {
        Effect::Rebind
    } else {
        Effect::Restart
    }
}

/// What has changed in the file, but has no effect, for something overrides it.
fn in_vain(before: &[Overridden], after: &[Overridden]) -> Vec<Change> {
    let keys: BTreeSet<&str> = before
        .iter()
        .chain(after)
        .map(|it| it.key.as_str())
        .collect();
    let of = |side: &[Overridden], key| side.iter().find(|it| it.key == key).cloned();
    let changes = keys.into_iter().map(|key| {
        let (before, after) = (of(before, key), of(after, key));
        let by = after.as_ref().or(before.as_ref());
        Change {
            key: key.to_owned(),
            overridden_by: by.map(|it| it.by.to_string()),
            origin: after.as_ref().map(|it| it.origin.to_string()),
            before: before.map(|it| it.written),
            after: after.map(|it| it.written),
            effect: Effect::Keep,
        }
    });
    changes
        .filter(|change| change.before != change.after)
        .collect()
}

fn key_files(before: &Pinned, after: &Loaded) -> Vec<KeyFilePlan> {
    let auth = &after.config.auth;
    let plans = auth.feeds().into_iter().enumerate();
    let plans = plans.filter_map(|(place, feed)| {
        let purpose = feed.purpose.name();
        let issuer = auth.issuer_of(feed.purpose);
        let issuer = issuer.map_or("", |issuer| issuer.name.as_str());
        let known = place_before(before, &feed, issuer);
        let (file, reason) = match feed.source {
            FeedSource::File(path) => {
                let digest = after.digests.get(place).copied().flatten();
                let in_force = known.and_then(|place| before.digest_in_force(place));
                let is_same = digest.is_some() && in_force == digest;
                let reason =
                    (!is_same).then(|| file_changes(purpose, known.is_some(), digest.is_none()));
                (path.display().to_string(), reason)
            }
            FeedSource::Fetched(fetch) => {
                let feeds = before.loaded.config.auth.feeds();
                let known = known.and_then(|place| feeds.get(place));
                let reason = match known.map(|feed| feed.source.fetch() == Some(fetch)) {
                    Some(true) => None,
                    Some(false) => Some("it is fetched anew, from elsewhere or otherwise"),
                    None => Some("it is new, and fetched before a worker serves"),
                };
                (fetch.shown().to_owned(), reason)
            }
            FeedSource::Certificate(_) | FeedSource::Clients(_) => return None,
        };
        Some(KeyFilePlan {
            purpose: purpose.to_owned(),
            issuer: issuer.to_owned(),
            file,
            effect: if reason.is_none() {
                Effect::Keep
            } else {
                Effect::Restart
            },
            reason: reason.map(str::to_owned),
        })
    });
    plans.collect()
}

/// Why a file is not kept: `is_known` says whether there is such a thing in force, `is_made` that there is no file yet.
fn file_changes(purpose: &str, is_known: bool, is_made: bool) -> &'static str {
    match (is_known, is_made) {
        (true, false) => "its contents have changed",
        (false, false) if purpose == "keys" => "the issuer is new",
        (false, false) => "it is new",
        (true, true) => {
            "it is gone; another secret is made, and tokens signed with the old one are refused"
        }
        (false, true) => "the issuer is new, and its secret is made",
    }
}

/// The feed for the same purpose, of the issuer of this name; none when there is no such thing.
fn place_before(before: &Pinned, feed: &Feed<'_>, name: &str) -> Option<usize> {
    let auth = &before.loaded.config.auth;
    let is_same = |known: &Feed<'_>| match (known.purpose, feed.purpose) {
        (FeedPurpose::IssuerKeys(issuer), FeedPurpose::IssuerKeys(_)) => {
            let issuer = auth.issuers.get(issuer);
            issuer.is_some_and(|issuer| issuer.name == name)
        }
        (FeedPurpose::SigningKey, FeedPurpose::SigningKey) => true,
        // Of lists there is one of each kind.
        (FeedPurpose::DenyList(_), FeedPurpose::DenyList(_)) => {
            let kind = |source: FeedSource<'_>| source.fetch().map(|fetch| fetch.kind.clone());
            kind(known.source) == kind(feed.source)
        }
        (
            FeedPurpose::IssuerKeys(_)
            | FeedPurpose::SigningKey
            | FeedPurpose::DenyList(_)
            | FeedPurpose::TlsCertificate(_)
            | FeedPurpose::TlsClients,
            _,
        ) => false,
    };
    auth.feeds().iter().position(is_same)
}

fn workers(
    (wanted, configured): (u16, u16),
    after: u16,
    because: String,
    reload: &Reload,
) -> WorkersPlan {
    WorkersPlan {
        before: wanted,
        after,
        because,
        scaled: wanted != configured,
        effect: if wanted == after {
            Effect::Keep
        } else {
            Effect::Restart
        },
        strategy: reload.strategy,
        max_surge: reload.max_surge,
        max_unavailable: reload.max_unavailable,
    }
}
