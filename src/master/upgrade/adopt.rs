//! From what was handed over to a master that runs: the descriptors are open, the workers notice nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use nix::sys::signal::Signal;

use super::adopt_sockets::{take_admin, take_listeners, take_path};
use super::state::{self, State, StateError};
use crate::channel::Decoder;
use crate::config::{AccessLog, Format, Level, Log};
use crate::logging;
use crate::master::boot::{ServiceManager, StartError, pin, rate_table_for, systemd_of};
use crate::master::control::{Client, ControlServer};
use crate::master::crew::{Crew, Hand};
use crate::master::deaths::Deaths;
use crate::master::happenings::Happenings;
use crate::master::ledger::UpgradeEnd;
use crate::master::orders::Orders;
use crate::master::stacks::Questions;
use crate::master::{
    Agent, Fetched, FileWatch, Loaded, Loader, LoaderBox, Master, Pinned, Purpose, Templates,
    Upgrade,
};
use crate::replay::ReplayCache;
use crate::scoreboard::{SEATS, Scoreboard};
use crate::supervisor::{Event, Generation};
use crate::sys::handover::{self, Legacy};
use crate::sys::machine::{MemoryKills, Processors};
use crate::sys::process::{self, ProcessId};
use crate::sys::signals::Signals;

/// What the program before this one left in this process.
#[derive(Debug)]
pub struct Takeover {
    state: State,
    legacy: Legacy,
}

/// The generations that are known, as this program reads them.
#[derive(Debug)]
pub struct KnownGenerations {
    known: BTreeMap<Generation, Loaded>,
    /// What could not be had as it was.
    problems: Vec<String>,
}

impl Takeover {
    /// Takes it: the state is in the descriptor `number`.
    ///
    /// # Errors
    /// It is not there, of another version or not understood; then nothing of it is left open.
    pub fn receive(number: i32) -> Result<Self, StateError> {
        let state = State::decode(&handover::read_file(number)?)?;
        let legacy = Legacy::claim(&state.descriptors)?;
        Ok(Self { state, legacy })
    }

    /// Reads every generation again, from the text that it was made of: for workers that must be replaced, until the
    /// reload that completes the upgrade. A text that this program does not accept any more is replaced by what is on disk.
    pub fn load(&self, loader: &Loader) -> KnownGenerations {
        let mut problems = Vec::new();
        let mut load = |generation: Generation, text| match loader(Purpose::Resume(text)) {
            Ok(loaded) => Some(loaded),
            Err(reason) => {
                problems.push(format!(
                    "generation {generation} cannot be had as it was, what is on disk stands for it: {reason}"
                ));
                loader(Purpose::Force)
                    .inspect_err(|error| problems.push(error.clone()))
                    .ok()
            }
        };
        let known = self.state.generations.iter();
        let known = known
            .filter_map(|(generation, text)| Some((*generation, load(*generation, text)?)))
            .collect();
        KnownGenerations { known, problems }
    }

    /// How the log goes on.
    pub fn log(&self, generations: &KnownGenerations) -> Log {
        let serving = self.state.supervisor.serving();
        let loaded = serving.and_then(|serving| generations.known.get(&serving));
        loaded.map_or(
            Log {
                level: Level::Info,
                format: Format::Auto,
                file: None,
            },
            |loaded| loaded.config.log.clone(),
        )
    }

    /// How the access log goes on.
    pub fn access_log(&self, generations: &KnownGenerations) -> Option<AccessLog> {
        let serving = self.state.supervisor.serving()?;
        generations.known.get(&serving)?.config.access_log.clone()
    }
}

impl Master {
    /// Goes on where the program before has stopped, and begins the reload that completes the upgrade.
    ///
    /// # Errors
    /// System calls that must not fail. The workers then lose their master and leave.
    pub fn resume(
        takeover: Takeover,
        generations: KnownGenerations,
        loader: Loader,
        manager: &ServiceManager,
    ) -> Result<Self, StartError> {
        let Takeover { state, mut legacy } = takeover;
        let failed = |what| move |error| StartError::System(what, error);
        let signals = Signals::take_over()
            .map_err(|errno| StartError::System("take over the signals", errno.into()))?;
        if let Err(error) = process::raise_descriptor_limit() {
            tracing::warn!(%error, "cannot raise the limit on open descriptors");
        }
        let State {
            state_version: _,
            version,
            program,
            descriptors: _,
            started,
            supervisor,
            generations: _,
            listeners,
            admin,
            control,
            crew,
            scoreboard,
            replay,
            fetched,
            deaths,
            hangs,
            memory,
            mut ledger,
            last_reload,
            stop_callers,
            pid_file,
            log,
        } = state;
        logging::go_on_with(log);
        for problem in generations.problems {
            tracing::error!("{problem}");
        }
        ledger.upgrade_ended(UpgradeEnd::Done);
        let processors = Processors::available();
        let mut pinned = BTreeMap::new();
        for (generation, loaded) in generations.known {
            match pin(loaded, processors) {
                Ok((known, _)) => drop(pinned.insert(generation, known)),
                Err(error) => tracing::error!(generation = generation.0, %error, "cannot go on"),
            }
        }
        let (scoreboard, is_fresh) = take_scoreboard(scoreboard, &mut legacy)
            .map_err(failed("go on with the scoreboard"))?;
        let replay = replay.map(|replay| take_replay(&replay, &mut legacy));
        let replay = replay
            .transpose()
            .map_err(failed("go on with the replay cache"))?;
        let mut rates = None;
        for known in pinned.values() {
            rates = rate_table_for(&known.loaded.config, rates.as_ref())
                .map_err(failed("share memory with workers"))?;
        }
        let fetched =
            take_fetched(fetched, &pinned, &mut legacy).map_err(failed("take what was fetched"))?;
        let mut master = Self {
            supervisor,
            started,
            loader: LoaderBox(loader),
            generations: pinned,
            crew: take_crew(crew, is_fresh, &mut legacy).map_err(failed("adopt the workers"))?,
            listeners: take_listeners(listeners, &mut legacy)
                .map_err(failed("go on with the listeners"))?,
            admin: take_admin(admin, &mut legacy)
                .map_err(failed("go on with the sockets of `admin.bind`"))?,
            control: take_control(control, &mut legacy)
                .map_err(failed("go on with the control socket"))?,
            signals,
            scoreboard,
            replay,
            rates,
            deaths: take_deaths(deaths),
            questions: Questions::default(),
            hangs,
            memory,
            ledger,
            happenings: Happenings::default(),
            orders: Orders::new(),
            systemd: systemd_of(manager),
            processors,
            last_reload,
            traceback: None,
            stop_callers,
            pid_file,
            exit: None,
            upgrade: Upgrade::new(program),
            file_watch: FileWatch::default(),
            agent: Agent::new(fetched),
            templates: Templates::default(),
        };
        drop(legacy);
        if is_fresh {
            master.publish_blocks();
        }
        tracing::info!(
            pid = ProcessId::own().number(),
            version = env!("CARGO_PKG_VERSION"),
            before = version,
            program = %master.program().path().display(),
            "upgrade: this process goes on as another program"
        );
        // To set the action of SIGCHLD discards one that is pending: whoever has died meanwhile must be looked for.
        master.reap();
        master.bury_unborn();
        master.feed(Event::Upgraded);
        Ok(master)
    }
}

impl Master {
    /// Templates end with the program that had them. A worker that was still to be forked is nobody, or one that sees that nobody
    /// is at the other end of its channel.
    fn bury_unborn(&mut self) {
        let workers = self.supervisor.workers().map(|worker| worker.id);
        let unborn: Vec<_> = workers.filter(|id| self.crew.get(*id).is_none()).collect();
        for id in unborn {
            self.feed(Event::Exited(
                id,
                "its template ended with the program".to_owned(),
            ));
        }
    }
}

/// One of another layout cannot be read: a fresh one counts on from its totals, and what its workers do until they are
/// replaced is not seen.
fn take_scoreboard(
    state: state::Scoreboard,
    legacy: &mut Legacy,
) -> io::Result<(Arc<Scoreboard>, bool)> {
    let state::Scoreboard {
        memory,
        layout,
        totals,
    } = state;
    if let Some(scoreboard) = Scoreboard::of_file(legacy.take(memory)?, layout)? {
        return Ok((scoreboard, false));
    }
    let fresh = Scoreboard::new()?;
    fresh.add_totals(&totals);
    Ok((fresh, true))
}

/// One of another layout cannot be read: a fresh one is made, and the workers of before keep theirs until they are replaced.
fn take_replay(state: &state::Replay, legacy: &mut Legacy) -> io::Result<Arc<ReplayCache>> {
    let state::Replay { memory, layout } = *state;
    if let Some(replay) = ReplayCache::of_file(legacy.take(memory)?, layout)? {
        return Ok(replay);
    }
    tracing::warn!(
        "the replay cache of before cannot be read: a DPoP proof that was shown to a worker of before may be shown once again"
    );
    ReplayCache::new()
}

/// What was fetched for generations that are still known.
fn take_fetched(
    state: Vec<state::Fetched>,
    generations: &BTreeMap<Generation, Pinned>,
    legacy: &mut Legacy,
) -> io::Result<Vec<Fetched>> {
    let mut fetched = Vec::new();
    for state::Fetched {
        generation,
        feed,
        at,
        entries,
        file,
    } in state
    {
        let file = legacy.take(file)?;
        let feeds = generations
            .get(&generation)
            .map(|pinned| pinned.loaded.config.feeds());
        let feed = feeds.as_ref().and_then(|feeds| feeds.get(feed));
        if let Some(fetch) = feed.and_then(|feed| feed.source.fetch()) {
            let fetch = fetch.clone();
            fetched.push(Fetched {
                fetch,
                at,
                entries,
                file,
                content: None,
            });
        }
    }
    Ok(fetched)
}

fn take_crew(
    hands: Vec<state::Hand>,
    scoreboard_is_fresh: bool,
    legacy: &mut Legacy,
) -> io::Result<Crew> {
    let mut crew = Crew::new(SEATS);
    for hand in hands {
        let state::Hand {
            worker,
            pid,
            slot,
            generation,
            seat,
            spawned,
            told_to_go,
            hung_for,
            killed,
            replaced_for,
            unwell,
            channel,
            unread,
            last_words,
            unsent,
            passing,
        } = hand;
        let seat = if scoreboard_is_fresh {
            crew.take_seat()
        } else {
            crew.take_this_seat(seat)
        };
        let mut incoming = Decoder::default();
        incoming.push(&unread);
        let channel = channel.map(|channel| legacy.take(channel)).transpose()?;
        let last_words = last_words.map(|file| legacy.take(file)).transpose()?;
        let passing = passing.into_iter();
        let passing = passing.map(|(before, number)| Ok((before, legacy.take(number)?)));
        crew.join(
            worker,
            Hand {
                pid: ProcessId::from_number(pid),
                slot,
                generation,
                seat: seat.ok_or_else(|| io::Error::other("no seat is left on the scoreboard"))?,
                spawned,
                told_to_go,
                hung_for,
                killed: killed
                    .and_then(|(reason, signal)| Some((reason, Signal::try_from(signal).ok()?))),
                replaced_for,
                unwell,
                channel: channel.map(UnixStream::from),
                incoming,
                received: VecDeque::new(),
                last_words: last_words.map(File::from),
                outgoing: unsent,
                passing: passing.collect::<io::Result<_>>()?,
            },
        );
    }
    Ok(crew)
}

fn take_control(state: state::Control, legacy: &mut Legacy) -> io::Result<ControlServer> {
    let state::Control {
        listener,
        clients,
        last_caller,
        path,
        pause,
    } = state;
    let listener = match listener {
        Some((socket, path)) => Some((
            UnixListener::from(legacy.take(socket)?),
            take_path(path, legacy)?,
        )),
        None => None,
    };
    let mut taken = BTreeMap::new();
    for client in clients {
        let state::Client {
            caller,
            stream,
            unread,
            unsent,
            unanswered,
            has_finished,
        } = client;
        let mut incoming = Decoder::default();
        incoming.push(&unread);
        taken.insert(
            caller,
            Client {
                stream: UnixStream::from(legacy.take(stream)?),
                incoming,
                outgoing: unsent,
                unanswered,
                has_finished,
            },
        );
    }
    Ok(ControlServer {
        listener,
        clients: taken,
        last_caller,
        path,
        pause,
    })
}

fn take_deaths(state: state::Deaths) -> Deaths {
    let state::Deaths {
        memory_kills,
        reports,
        suspects,
        untold,
        next_summary,
    } = state;
    Deaths {
        memory_kills: MemoryKills::since(memory_kills),
        reports,
        suspects,
        untold,
        next_summary,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::{Legacy, state, take_crew};
    use crate::supervisor::{Generation, Slot, WorkerId};

    fn hand(worker: u64, seat: usize) -> state::Hand {
        state::Hand {
            worker: WorkerId(worker),
            pid: 4711,
            slot: Slot(0),
            generation: Generation(1),
            seat,
            spawned: Duration::ZERO,
            told_to_go: false,
            hung_for: None,
            killed: None,
            replaced_for: None,
            unwell: None,
            channel: None,
            unread: b"{\"type\":\"re".to_vec(),
            last_words: None,
            unsent: Vec::new(),
            passing: Vec::new(),
        }
    }

    fn seats(scoreboard_is_fresh: bool) -> (Vec<usize>, Option<usize>) {
        let mut legacy = Legacy::claim(&BTreeSet::new()).expect("nothing to claim");
        let hands = vec![hand(1, 3), hand(2, 5000)];
        let hands = if scoreboard_is_fresh {
            hands
        } else {
            hands.into_iter().take(1).collect()
        };
        let mut crew = take_crew(hands, scoreboard_is_fresh, &mut legacy).expect("adopted");
        let seats = crew.iter().map(|(_, hand)| hand.seat).collect();
        (seats, crew.take_seat())
    }

    #[test]
    fn a_worker_keeps_its_seat_and_gets_another_one_on_another_scoreboard() {
        assert_eq!(seats(false), (vec![3], Some(0)));
        assert_eq!(seats(true), (vec![0, 1], Some(2)));
    }
}
