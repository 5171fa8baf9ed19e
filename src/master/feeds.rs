//! What changes while generations are in force: key files are watched, read when something happens to them, and what is
//! good is handed to the workers. What is not good leaves in force what was.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::watched_paths::WatchedPaths;
use super::{Master, Pinned};
use crate::channel::{FeedNews, ToWorker};
use crate::config::{Auth, FeedContent, FeedSource};
use crate::supervisor::{Generation, Now, WorkerId};
use crate::sys::clock;
use crate::sys::handover::sealed_file;
use crate::sys::watch::{Happening, Watcher};

/// From the first sign of a change until the files are read: what belongs together is replaced together.
const SETTLING: Duration = Duration::from_millis(50);
/// A file that is not good may be about to be: whoever replaces it has removed it first. Only then is it told.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Reads the feed at this place of the configuration's feeds and judges whether it could be put in force.
pub type ReadFeed = Rc<dyn Fn(usize) -> Result<FeedContent, String>>;

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
}

#[derive(Debug)]
struct Problem {
    reason: String,
    is_told: bool,
}

/// The files of all generations.
#[derive(Debug, Default)]
pub(super) struct FileWatch {
    watcher: Option<Watcher>,
    paths: WatchedPaths,
    /// When the files are read.
    look_at: Option<Now>,
}

impl FileWatch {
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.as_ref().map(Watcher::descriptor)
    }

    pub(super) fn next_look(&self) -> Option<Now> {
        self.look_at
    }

    /// Takes in what has happened.
    pub(super) fn listen(&mut self, now: Now) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let matters = |happening: &Happening| match happening {
            Happening::Name(folder, name) => self.paths.names(folder, name),
            Happening::Gone(_) | Happening::Anything => true,
        };
        if watcher.happenings().iter().any(matters) {
            self.look(now + SETTLING);
        }
    }

    fn look(&mut self, at: Now) {
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Watches what decides about these files; whether that is something else than before.
    fn watch<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) -> bool {
        let paths = WatchedPaths::of(files);
        if self.watcher.is_none() && paths.folders().next().is_some() {
            match Watcher::new() {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => {
                    tracing::warn!(%error, "cannot watch key files: a reload is needed when they change");
                    return false;
                }
            }
        }
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        watcher.keep(|folder| paths.has(folder));
        let mut has_more = self.paths != paths;
        for folder in paths.folders() {
            if !watcher.watches(folder) {
                has_more = true;
                if let Err(error) = watcher.watch(folder) {
                    tracing::warn!(folder = %folder.display(), %error, "cannot watch for changes of key files here");
                }
            }
        }
        self.paths = paths;
        has_more
    }
}

impl FeedState {
    /// Takes in what the file holds now; whether workers must be told. `known` is the digest of what was read at first.
    fn take_in(&mut self, read: Result<FeedContent, String>, known: Option<[u8; 32]>) -> Taken {
        let read = read.and_then(|content| {
            let current = self
                .content
                .as_ref()
                .map_or(known, |content| content.digest);
            if content.digest.is_some() && content.digest == current {
                return Ok(None);
            }
            let file = sealed_file("destrier-feed", &content.bytes)
                .map_err(|error| format!("no memory to hand it on: {error}"))?;
            let taken = Content {
                file: file.into(),
                digest: content.digest,
                entries: content.entries,
            };
            Ok(Some((taken, content.warnings)))
        });
        match read {
            Ok(None) => {
                self.problem = None;
                Taken::Nothing
            }
            Ok(Some((content, warnings))) => {
                self.problem = None;
                self.content = Some(content);
                Taken::Changed(warnings)
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
                    (true, true) => Taken::Nothing,
                }
            }
        }
    }
}

/// What came of a look at a file.
enum Taken {
    Nothing,
    /// It is something else now, and good.
    Changed(Vec<String>),
    /// It is not good; another look will tell.
    Doubtful,
    /// It was not good twice.
    Bad(String),
}

impl Master {
    /// Called when generations have come or gone, and after each look: watches their files.
    pub(super) fn watch_files(&mut self) {
        let generations = self.generations.values();
        let files = generations.flat_map(|pinned| files_of(&pinned.loaded.config.auth));
        if self.file_watch.watch(files) {
            // Something may have happened before it was watched.
            let now = clock::monotonic().saturating_sub(self.started);
            self.file_watch.look(now + SETTLING);
        }
    }

    /// Reads the files that something has happened to, when it is time.
    pub(super) fn look_at_files(&mut self) {
        let now = self.now();
        if self.file_watch.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.file_watch.look_at = None;
        let mut changed = Vec::new();
        for (generation, pinned) in &mut self.generations {
            let Pinned { loaded, feeds, .. } = pinned;
            let sources = loaded.config.auth.feeds();
            for (place, (feed, state)) in sources.iter().zip(feeds).enumerate() {
                let Some(path) = feed.source.file() else {
                    continue;
                };
                let file = path.display();
                let known = loaded.digests.get(place).copied().flatten();
                match state.take_in((loaded.read_feed)(place), known) {
                    Taken::Nothing => {}
                    Taken::Changed(warnings) => {
                        tracing::info!(%file, generation = generation.0, "changed, in force without a reload");
                        for warning in warnings {
                            tracing::warn!(%file, "{warning}");
                        }
                        changed.push((*generation, place));
                    }
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

    fn hand_feed_to(&mut self, id: WorkerId, place: usize) {
        let generation = self.crew.get(id).map(|hand| hand.generation);
        let pinned = generation.and_then(|generation| self.generations.get(&generation));
        let feeds = pinned.map(|pinned| (pinned, pinned.loaded.config.auth.feeds()));
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
            FeedSource::File(_) => {
                let state = pinned.feeds.get(place);
                let content = state.and_then(|state| state.content.as_ref());
                content.map(|content| (&content.file, None))
            }
            FeedSource::Fetched(fetch) => {
                let good = self.agent.last_good(fetch);
                // Whoever boots waits for it, but not for what will not come soon.
                if good.is_none() && self.is_known_to_fail(fetch) {
                    self.tell_news(id, FeedNews::Failed { feed });
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

    /// The digest of what is in force for the feed at this place.
    pub(super) fn digest_in_force(&self, place: usize) -> Option<[u8; 32]> {
        let content = self
            .feeds
            .get(place)
            .and_then(|state| state.content.as_ref());
        let pinned = self.loaded.digests.get(place).copied().flatten();
        content.map_or(pinned, |content| content.digest)
    }
}

fn files_of(auth: &Auth) -> Vec<&Path> {
    let feeds = auth.feeds().into_iter();
    feeds.filter_map(|feed| feed.source.file()).collect()
}
