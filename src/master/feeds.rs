//! What changes while generations are in force: key files are watched, read when something happens to them, and what is
//! good is handed to the workers. What is not good leaves in force what was.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::{Master, Pinned};
use crate::channel::{FeedNews, ToWorker};
use crate::config::{Config, FeedContent, FeedSource};
use crate::supervisor::{Generation, WorkerId};
use crate::sys::handover::sealed_file;

/// A file that is not good may be about to be: whoever replaces it has removed it first. Only then is it told.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// So many descriptors wait for a worker that does not read its channel.
const PASSING_MAX: usize = 64;

/// Reads the feed at this place of the configuration's feeds and judges whether it could be put in force; nothing where its file has the
/// digest of what is.
pub type ReadFeed = Rc<dyn Fn(usize, Option<[u8; 32]>) -> Result<Option<FeedContent>, String>>;

/// A feed of a generation in force.
#[derive(Debug, Default)]
pub(super) struct FeedState {
    /// What its file has come to, which workers have, or get when they are born; none: what the generation was read with. What
    /// is fetched the agent's part knows.
    content: Option<Content>,
    /// What is wrong with what it has come to.
    problem: Option<Problem>,
}

/// What workers get.
#[derive(Debug)]
struct Content {
    file: OwnedFd,
    /// Of the file that it comes from.
    digest: Option<[u8; 32]>,
    entries: Option<usize>,
    not_after: Option<u64>,
}

#[derive(Debug)]
struct Problem {
    reason: String,
    is_told: bool,
}

impl FeedState {
    /// The digest of what is in force; `known` is that of what was read at first.
    fn digest(&self, known: Option<[u8; 32]>) -> Option<[u8; 32]> {
        let content = self.content.as_ref();
        content.map_or(known, |content| content.digest)
    }

    /// Takes in what the file holds now, if that is something else; whether workers must be told.
    fn take_in(&mut self, read: Result<Option<FeedContent>, String>) -> Taken {
        let read = read.and_then(|content| {
            let Some(content) = content else {
                return Ok(None);
            };
            let file = sealed_file("destrier-feed", &content.bytes)
                .map_err(|error| format!("no memory to hand it on: {error}"))?;
            let taken = Content {
                file: file.into(),
                digest: content.digest,
                entries: content.entries,
                not_after: content.not_after,
            };
            Ok(Some((taken, content.warnings)))
        });
        match read {
            Ok(changed) => {
                let was_bad = self.problem.take().is_some_and(|problem| problem.is_told);
                let warnings = changed.map(|(content, warnings)| {
                    self.content = Some(content);
                    warnings
                });
                Taken::Good { was_bad, warnings }
            }
            Err(reason) => {
                let before = self.problem.take();
                let is_known = before.is_some();
                let was_told = before.is_some_and(|it| it.is_told && it.reason == reason);
                self.problem = Some(Problem {
                    reason: reason.clone(),
                    is_told: is_known,
                });
                match (is_known, was_told) {
                    (false, _) => Taken::Doubtful,
                    (true, false) => Taken::Bad(reason),
                    (true, true) => Taken::StillBad,
                }
            }
        }
    }
}

/// What came of a look at a file.
enum Taken {
    /// It is good.
    Good {
        /// That it was not was told.
        was_bad: bool,
        /// Where it is something else now: what the operator should know about it.
        warnings: Option<Vec<String>>,
    },
    /// As was told.
    StillBad,
    /// It is not good; another look will tell.
    Doubtful,
    /// It was not good twice.
    Bad(String),
}

impl Master {
    /// Called when generations have come or gone, and after each look: watches their files.
    pub(super) fn watch_files(&mut self) {
        let now = self.now();
        let generations = self.generations.values();
        let files = generations.flat_map(|pinned| files_of(&pinned.loaded.config));
        self.file_watch.watch(files, now);
    }

    /// Reads the files that something has happened to, when it is time.
    pub(super) fn look_at_files(&mut self) {
        let now = self.now();
        if !self.file_watch.is_due(now) {
            return;
        }
        let mut changed = Vec::new();
        for (generation, pinned) in &mut self.generations {
            let Pinned { loaded, feeds, .. } = pinned;
            let sources = loaded.config.feeds();
            for (place, (feed, state)) in sources.iter().zip(feeds).enumerate() {
                let Some(path) = feed.source.file() else {
                    continue;
                };
                let file = path.display();
                let known = loaded.digests.get(place).copied().flatten();
                let read = (loaded.read_feed)(place, state.digest(known));
                match state.take_in(read) {
                    Taken::Good { was_bad, warnings } => {
                        if was_bad {
                            tracing::info!(%file, generation = generation.0, "good again");
                        }
                        let Some(warnings) = warnings else {
                            continue;
                        };
                        tracing::info!(%file, generation = generation.0, "changed, in force without a reload");
                        for warning in warnings {
                            tracing::warn!(%file, "{warning}");
                        }
                        changed.push((*generation, place));
                    }
                    Taken::StillBad => {}
                    Taken::Doubtful => self.file_watch.look(now + SECOND_LOOK),
                    Taken::Bad(reason) => {
                        tracing::error!(
                            generation = generation.0,
                            reason,
                            "changed, but cannot be put in force: what was before stays"
                        );
                    }
                }
            }
        }
        self.hand_to_all(&changed);
        self.watch_files();
    }

    /// A worker that was just born has what its generation was read with; what has changed since comes before it is told to
    /// take connections.
    pub(super) fn hand_feeds_to(&mut self, id: WorkerId) {
        let generation = self.crew.get(id).map(|hand| hand.generation);
        let pinned = generation.and_then(|generation| self.generations.get(&generation));
        let feeds = pinned.map_or(0, |pinned| pinned.feeds.len());
        for place in 0..feeds {
            self.hand_feed_to(id, place);
        }
    }

    pub(super) fn tell_news(&mut self, id: WorkerId, news: FeedNews) {
        self.tell(id, &ToWorker::Feed(news));
    }

    /// Hands what these feeds have come to, each of a generation, to all workers of that.
    pub(super) fn hand_to_all(&mut self, changed: &[(Generation, usize)]) {
        for (generation, place) in changed {
            let workers = self.crew.iter();
            let workers = workers.filter(|(_, hand)| hand.generation == *generation);
            for id in workers.map(|(id, _)| id).collect::<Vec<_>>() {
                self.hand_feed_to(id, *place);
            }
        }
    }

    /// What came of this feed did not reach the worker.
    pub(super) fn hand_feed_again(&mut self, id: WorkerId, feed: u32) {
        if let Ok(place) = usize::try_from(feed) {
            self.hand_feed_to(id, place);
        }
    }

    fn hand_feed_to(&mut self, id: WorkerId, place: usize) {
        let generation = self.crew.get(id).map(|hand| hand.generation);
        let pinned = generation.and_then(|generation| self.generations.get(&generation));
        let feeds = pinned.map(|pinned| (pinned, pinned.loaded.config.feeds()));
        let Some((pinned, feeds)) = feeds else {
            return;
        };
        let (Some(source), Ok(feed)) = (
            feeds.get(place).map(|feed| feed.source),
            u32::try_from(place),
        ) else {
            return;
        };
        let known = match source {
            FeedSource::File(_) | FeedSource::Certificate(_) | FeedSource::Clients(_) => {
                let state = pinned.feeds.get(place);
                let content = state.and_then(|state| state.content.as_ref());
                content.map(|content| (&content.file, None))
            }
            FeedSource::Fetched(fetch) => {
                let good = self.agent.last_good(fetch);
                // Whoever boots waits for it, but not for what will not come soon.
                if good.is_none() && self.is_known_to_fail(fetch) {
                    self.tell_news(
                        id,
                        FeedNews::Failed {
                            feed,
                            again_in: None,
                        },
                    );
                    return;
                }
                good.map(|good| (&good.file, Some(good.at)))
            }
        };
        let Some((file, at)) = known else {
            return;
        };
        let file = file.try_clone();
        match (file, self.crew.get_mut(id)) {
            // It does not read; what was confirmed is not what it has then, and it asks.
            (Ok(_), Some(hand)) if hand.passing.len() >= PASSING_MAX => {
                tracing::error!(worker = id.0, "does not take what has changed");
            }
            (Ok(file), Some(hand)) => {
                hand.tell_with(&ToWorker::Feed(FeedNews::Changed { feed, at }), file);
            }
            (Err(error), _) => {
                tracing::error!(worker = id.0, %error, "cannot hand on what has changed");
            }
            (Ok(_), None) => {}
        }
    }
}

impl FeedState {
    /// What its file has come to since its generation was read.
    pub(super) fn content_file(&self) -> Option<&OwnedFd> {
        self.content.as_ref().map(|content| &content.file)
    }

    /// What is wrong with what the file has come to, once it is sure.
    pub(super) fn problem(&self) -> Option<&str> {
        let problem = self.problem.as_ref().filter(|problem| problem.is_told);
        problem.map(|problem| problem.reason.as_str())
    }
}

impl Pinned {
    /// How many keys or entries are in force for the feed at this place, where it comes from a file.
    pub(super) fn entries_in_force(&self, place: usize) -> Option<usize> {
        let state = self.feeds.get(place);
        let content = state.and_then(|state| state.content.as_ref());
        let pinned = self.loaded.entries.get(place).copied().flatten();
        content.map_or(pinned, |content| content.entries)
    }

    /// When the certificate in force for the feed at this place ends, where it is one, in seconds since 1970.
    pub(super) fn not_after_in_force(&self, place: usize) -> Option<u64> {
        let state = self.feeds.get(place);
        let content = state.and_then(|state| state.content.as_ref());
        let pinned = self.loaded.not_after.get(place).copied().flatten();
        content.map_or(pinned, |content| content.not_after)
    }

    /// The digest of what is in force for the feed at this place.
    pub(super) fn digest_in_force(&self, place: usize) -> Option<[u8; 32]> {
        let pinned = self.loaded.digests.get(place).copied().flatten();
        let state = self.feeds.get(place);
        state.map_or(pinned, |state| state.digest(pinned))
    }
}

fn files_of(config: &Config) -> Vec<&Path> {
    let feeds = config.feeds().into_iter();
    feeds.flat_map(|feed| feed.source.files()).collect()
}
