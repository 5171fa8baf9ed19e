//! What the master hands over to the program that it becomes: everything it knows, and where its descriptors are.
//!
//! A program takes over from the version of the state that it was made with, and from no other. Whoever changes what is
//! written here, the derives of the supervisor among it, or what master and workers say to each other, raises
//! [`STATE_VERSION`], unless no release has the number yet; a test holds the shape.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::program::Program;
use crate::config::{Bind, Text};
use crate::logging::Unwritten;
use crate::master::ReloadOutcome;
use crate::master::death_report::KeptDeath;
use crate::master::hangs::HangWatch;
use crate::master::ledger::{Ledger, WorkerEnd};
use crate::master::memory::MemoryWatch;
use crate::master::suspects::Suspects;
use crate::supervisor::{Caller, Generation, KillReason, Now, Slot, Supervisor, WorkerId};
use crate::sys::handover::sealed_file;

/// The number of the shape below.
pub const STATE_VERSION: u32 = 1;

/// The number of a descriptor in this process, which stays open through execve(2).
pub(super) type Number = i32;

/// The state of a master. Times are monotonic: as the machine counts where it says so, else since the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "read before the rest, also by programs that know nothing else of it"
)]
pub(super) struct State {
    pub(super) state_version: u32,
    /// Of the destrier that wrote it.
    pub(super) version: String,
    pub(super) program: Program,
    /// All that are handed over, the one of this state aside.
    pub(super) descriptors: BTreeSet<Number>,
    /// As the machine counts.
    pub(super) started: Duration,
    pub(super) supervisor: Supervisor,
    pub(super) generations: BTreeMap<Generation, Text>,
    pub(super) listeners: Listeners,
    pub(super) admin: Vec<AdminListener>,
    pub(super) control: Control,
    pub(super) crew: Vec<Hand>,
    pub(super) scoreboard: Scoreboard,
    pub(super) replay: Option<Replay>,
    pub(super) fetched: Vec<Fetched>,
    pub(super) deaths: Deaths,
    pub(super) hangs: HangWatch,
    pub(super) memory: MemoryWatch,
    pub(super) ledger: Ledger,
    pub(super) last_reload: Option<ReloadOutcome>,
    pub(super) stop_callers: Vec<Caller>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) log: Unwritten,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listeners {
    pub(super) open: Vec<Listener>,
    pub(super) inherited: Vec<Inherited>,
    pub(super) serving: Vec<(Bind, BTreeSet<u16>)>,
    pub(super) heirs: BTreeSet<(Bind, u16, WorkerId)>,
    pub(super) cannot_steer: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) bind: Bind,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Kind {
    PerSlot {
        address: SocketAddr,
        v6_only: bool,
        backlog: u32,
        /// In the order of the kernel.
        sockets: Vec<SlotSocket>,
        serving: Option<BTreeSet<u16>>,
    },
    Shared {
        socket: Number,
        address: Option<SocketAddr>,
        path: Option<SocketPath>,
        inherited: bool,
        is_leaving: bool,
        emptied_by: BTreeSet<WorkerId>,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlotSocket {
    pub(super) slot: u16,
    pub(super) socket: Number,
    pub(super) emptied_by: Option<WorkerId>,
}

/// A socket that was passed at the start: its number then, and now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inherited {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) socket: Number,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SocketPath {
    pub(super) path: PathBuf,
    pub(super) made: Option<(u64, u64)>,
    /// The lock belongs to what is open, not to the process: it is never let go.
    pub(super) lock: Number,
}

/// Where monitoring asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminListener {
    pub(super) bind: Bind,
    pub(super) socket: Number,
    pub(super) path: Option<SocketPath>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Control {
    pub(super) listener: Option<(Number, SocketPath)>,
    pub(super) clients: Vec<Client>,
    pub(super) last_caller: Caller,
    pub(super) path: PathBuf,
    pub(super) pause: Option<Now>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub(super) caller: Caller,
    pub(super) stream: Number,
    pub(super) unread: Vec<u8>,
    pub(super) unsent: Vec<u8>,
    pub(super) unanswered: usize,
    pub(super) has_finished: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hand {
    pub(super) worker: WorkerId,
    pub(super) pid: i32,
    pub(super) slot: Slot,
    pub(super) generation: Generation,
    pub(super) seat: usize,
    pub(super) spawned: Now,
    pub(super) told_to_go: bool,
    pub(super) hung_for: Option<Duration>,
    /// Why it was killed, and with which signal.
    pub(super) killed: Option<(KillReason, i32)>,
    pub(super) replaced_for: Option<WorkerEnd>,
    pub(super) unwell: Option<String>,
    pub(super) channel: Option<Number>,
    pub(super) unread: Vec<u8>,
    /// Where it writes what its threads did when it dies.
    pub(super) last_words: Option<Number>,
    pub(super) unsent: Vec<u8>,
    /// How much of `unsent` is written before each.
    pub(super) passing: Vec<(usize, Number)>,
}

/// Something that the agent has fetched: workers that are born later start with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fetched {
    /// A generation that wants it.
    pub(super) generation: Generation,
    /// Its place in that generation's feeds.
    pub(super) feed: usize,
    /// In seconds since 1970.
    pub(super) at: u64,
    /// How many keys or entries there are.
    pub(super) entries: u64,
    pub(super) file: Number,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scoreboard {
    pub(super) memory: Number,
    pub(super) layout: u64,
    /// For a program that knows another layout.
    pub(super) totals: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    pub(super) memory: Number,
    pub(super) layout: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deaths {
    pub(super) memory_kills: Option<u64>,
    pub(super) reports: VecDeque<KeptDeath>,
    pub(super) suspects: Suspects,
    pub(super) untold: u64,
    pub(super) next_summary: Now,
}

/// What a program says when it can take over: a line on its standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Readiness {
    /// Of the program.
    pub(super) destrier: String,
    /// The version of the state that it has read.
    pub(super) state_version: u32,
}

/// A state that this program does not take over.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It could not be read.
    #[error("cannot read the state of the master that runs: {0}")]
    Read(#[from] io::Error),
    /// It is of another version.
    #[error(
        "the master that runs has state version {theirs}, this program (destrier {own}) takes over version {STATE_VERSION}; only a restart changes to it",
        own = env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// The other one.
        theirs: u32,
    },
    /// It is of this version, and yet not understood.
    #[error("cannot understand the state of the master that runs: {0}")]
    Garbled(#[from] serde_json::Error),
}

impl State {
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// In a file in memory that is called so, for another program to read.
    pub(super) fn written_down(&self, name: &str) -> io::Result<File> {
        sealed_file(name, &self.encode()?)
    }

    /// # Errors
    /// Another version, before anything else is looked at; anything that this program does not know.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            state_version: u32,
        }
        let Version { state_version } = serde_json::from_slice(bytes)?;
        if state_version != STATE_VERSION {
            return Err(StateError::Version {
                theirs: state_version,
            });
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl Readiness {
    pub(super) fn own() -> Self {
        Self {
            destrier: env!("CARGO_PKG_VERSION").to_owned(),
            state_version: STATE_VERSION,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::master::hangs::Seen;
    use crate::master::memory::Limit;
    use crate::master::suspects::Named;
    use crate::supervisor::{Event, Policy, Strategy};

    const SECOND: Duration = Duration::from_secs(1);

    fn supervisor() -> Supervisor {
        let policy = Policy {
            workers: 1,
            strategy: Strategy::BlueGreen,
            boot_timeout: SECOND,
            graceful_timeout: SECOND,
            drain_delay: SECOND,
            backoff_initial: SECOND,
            backoff_max: SECOND,
            backoff_reset: SECOND,
            lifetime: None,
            wants_stand_in: false,
        };
        let mut supervisor = Supervisor::new(policy, 7);
        for event in [
            Event::DeadlinePassed,
            Event::Ready(WorkerId(1)),
            Event::Exited(WorkerId(1), "killed by SIGKILL".to_owned()),
            Event::UpgradeRequested {
                caller: Some(Caller(1)),
                program: None,
            },
        ] {
            let _actions = supervisor.handle(SECOND, event);
        }
        supervisor
    }

    fn path(path: &str, lock: Number) -> SocketPath {
        SocketPath {
            path: path.into(),
            made: Some((1, 2)),
            lock,
        }
    }

    fn watches() -> (HangWatch, MemoryWatch) {
        let (mut hangs, mut memory) = (HangWatch::default(), MemoryWatch::default());
        let seen = Seen {
            worker: WorkerId(2),
            timeout: SECOND,
            is_stopped: false,
            busy_since: Some(Duration::ZERO),
        };
        let _asked = hangs.look(SECOND, &[seen]);
        let limit = Limit {
            bytes: 1,
            samples: 3,
        };
        let _asked = memory.take_rss(WorkerId(2), Some(4096), limit);
        (hangs, memory)
    }

    fn state() -> State {
        let (hangs, memory) = watches();
        let mut suspects = Suspects::default();
        let name = Named {
            method: "GET".to_owned(),
            path: "/report".to_owned(),
        };
        let _blocked = suspects.death(SECOND, SECOND, 7, name);
        let slots = Kind::PerSlot {
            address: ([127, 0, 0, 1], 8000).into(),
            v6_only: false,
            backlog: 2048,
            sockets: vec![SlotSocket {
                slot: 0,
                socket: 5,
                emptied_by: None,
            }],
            serving: Some(BTreeSet::from([0])),
        };
        let shared = Kind::Shared {
            socket: 6,
            address: None,
            path: Some(path("/run/app.sock", 7)),
            inherited: false,
            is_leaving: false,
            emptied_by: BTreeSet::from([WorkerId(9)]),
        };
        let tcp = Bind::Tcp(([127, 0, 0, 1], 8000).into());
        let listener = |bind, kind| Listener { bind, kind };
        State {
            state_version: STATE_VERSION,
            version: "0.1.0".to_owned(),
            program: Program::called("/usr/bin/destrier", &["destrier", "run"]),
            descriptors: (5..=12).collect(),
            started: SECOND,
            supervisor: supervisor(),
            generations: BTreeMap::from([(
                Generation(1),
                Text {
                    file: "/etc/destrier.toml".into(),
                    text: "workers.count = 1".to_owned(),
                },
            )]),
            listeners: Listeners {
                open: vec![
                    listener(tcp.clone(), slots),
                    listener(Bind::Unix("/run/app.sock".into()), shared),
                ],
                inherited: vec![Inherited {
                    name: "http".to_owned(),
                    number: 3,
                    socket: 8,
                }],
                serving: vec![(tcp.clone(), BTreeSet::from([0]))],
                heirs: BTreeSet::from([(tcp, 1, WorkerId(2))]),
                cannot_steer: false,
            },
            admin: vec![AdminListener {
                bind: Bind::Unix("/run/control.admin.sock".into()),
                socket: 6,
                path: Some(path("/run/control.admin.sock", 7)),
            }],
            control: Control {
                listener: Some((9, path("/run/control.sock", 10))),
                clients: vec![Client {
                    caller: Caller(1),
                    stream: 11,
                    unread: b"{".to_vec(),
                    unsent: Vec::new(),
                    unanswered: 1,
                    has_finished: false,
                }],
                last_caller: Caller(1),
                path: "/run/control.sock".into(),
                pause: None,
            },
            crew: vec![Hand {
                worker: WorkerId(2),
                pid: 4711,
                slot: Slot(0),
                generation: Generation(1),
                seat: 0,
                spawned: SECOND,
                told_to_go: false,
                hung_for: None,
                killed: Some((KillReason::Hung, 6)),
                replaced_for: Some(WorkerEnd::Recycle),
                unwell: None,
                channel: Some(12),
                unread: Vec::new(),
                last_words: Some(12),
                unsent: Vec::new(),
                passing: vec![(0, 5)],
            }],
            scoreboard: Scoreboard {
                memory: 12,
                layout: 1,
                totals: BTreeMap::from([("success".to_owned(), 3)]),
            },
            replay: Some(Replay {
                memory: 12,
                layout: 1,
            }),
            fetched: vec![Fetched {
                generation: Generation(1),
                feed: 0,
                at: 1,
                entries: 2,
                file: 12,
            }],
            deaths: Deaths {
                memory_kills: Some(0),
                reports: VecDeque::new(),
                suspects,
                untold: 0,
                next_summary: Duration::ZERO,
            },
            hangs,
            memory,
            ledger: Ledger::default(),
            last_reload: Some(ReloadOutcome {
                at: SECOND,
                result: Ok(Generation(1)),
            }),
            stop_callers: Vec::new(),
            pid_file: None,
            log: Unwritten::default(),
        }
    }

    #[test]
    fn a_state_is_what_it_was_when_it_is_read() {
        let written = state().encode().expect("can be written");
        let read = State::decode(&written).expect("can be read");
        assert_eq!(read.encode().expect("can be written"), written);
        assert_eq!(format!("{read:?}"), format!("{:?}", state()));
    }

    #[test]
    fn a_state_of_another_version_is_refused_by_its_version_whatever_else_it_says() {
        let error = State::decode(br#"{"state_version":77,"hats":3}"#).expect_err("refused");
        assert!(matches!(error, StateError::Version { theirs: 77 }));
        let mut written: serde_json::Value =
            serde_json::from_slice(&state().encode().expect("can be written")).expect("JSON");
        written["hats"] = 3.into();
        let error = State::decode(written.to_string().as_bytes()).expect_err("refused");
        assert!(error.to_string().contains("hats"), "{error}");
    }

    /// Where this fails the shape has changed: raise `STATE_VERSION` when a release has the number, then mend the words
    /// here.
    #[test]
    fn the_shape_of_the_state_is_that_of_its_version() {
        let mut written = serde_json::to_value(state()).expect("JSON");
        shorten(&mut written);
        let fields = written.as_object().expect("an object").iter();
        let lines = fields.map(|(name, value)| format!("{name} {value}"));
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
        state_version 1
        version "0.1.0"
        program {"path":{"Unix":[47,117,115,114,47,98,105,110,47,100,101,115,116,114,105,101,114]},"arguments":[{"Unix":[100,101,115,116,114,105,101,114]},{"Unix":[114,117,110]}]}
        descriptors [5,6,7,8,9,10,11,12]
        started 1
        supervisor {"serving":{"generation":1,"policy":{"workers":1,"strategy":"BlueGreen","boot_timeout":1,"graceful_timeout":1,"drain_delay":1,"backoff_initial":1,"backoff_max":1,"backoff_reset":1,"lifetime":null,"wants_stand_in":false},"wanted":1,"paused":false},"candidate":null,"taking_over":null,"workers":{"2":{"id":2,"slot":0,"generation":1,"spawned":1,"graceful_timeout":1,"state":{"Booting":{"until":2}},"may_accept":false,"is_outgoing":false,"is_unwell":false,"lifetime":null,"outlived":null}},"crashes":{"0":{"failures":1,"not_before":1}},"boots":{"failures":0,"not_before":0},"degraded":false,"reload_waiting":null,"preparing":null,"upgrade":{"Preflight":{"callers":[1]}},"scaling":[],"stopping":null,"known":[1],"last_worker":2,"last_generation":1,"seed":7,"exited":false}
        generations {"1":{"file":"/etc/destrier.toml","text":"workers.count = 1"}}
        listeners {"open":[{"bind":{"Tcp":"127.0.0.1:8000"},"kind":{"PerSlot":{"address":"127.0.0.1:8000","v6_only":false,"backlog":2048,"sockets":[{"slot":0,"socket":5,"emptied_by":null}],"serving":[0]}}},{"bind":{"Unix":"/run/app.sock"},"kind":{"Shared":{"socket":6,"address":null,"path":{"path":"/run/app.sock","made":[1,2],"lock":7},"inherited":false,"is_leaving":false,"emptied_by":[9]}}}],"inherited":[{"name":"http","number":3,"socket":8}],"serving":[[{"Tcp":"127.0.0.1:8000"},[0]]],"heirs":[[{"Tcp":"127.0.0.1:8000"},1,2]],"cannot_steer":false}
        admin [{"bind":{"Unix":"/run/control.admin.sock"},"socket":6,"path":{"path":"/run/control.admin.sock","made":[1,2],"lock":7}}]
        control {"listener":[9,{"path":"/run/control.sock","made":[1,2],"lock":10}],"clients":[{"caller":1,"stream":11,"unread":[123],"unsent":[],"unanswered":1,"has_finished":false}],"last_caller":1,"path":"/run/control.sock","pause":null}
        crew [{"worker":2,"pid":4711,"slot":0,"generation":1,"seat":0,"spawned":1,"told_to_go":false,"hung_for":null,"killed":["Hung",6],"replaced_for":"Recycle","unwell":null,"channel":12,"unread":[],"last_words":12,"unsent":[],"passing":[[0,5]]}]
        scoreboard {"memory":12,"layout":1,"totals":{"success":3}}
        replay {"memory":12,"layout":1}
        fetched [{"generation":1,"feed":0,"at":1,"entries":2,"file":12}]
        deaths {"memory_kills":0,"reports":[],"suspects":{"7":{"name":{"method":"GET","path":"/report"},"deaths":[1],"forgotten":2,"is_blocked":false}},"untold":0,"next_summary":0}
        hangs {"looked":1,"suspects":{"2":{"busy_since":0,"until":1}}}
        memory {"looked":0,"held":{"2":{"rss":4096,"pss":null,"above":0,"was_below":false,"is_asked":true,"is_reported":false}},"is_blindness_told":false}
        ledger {"ends":{},"reloads":{},"upgrades":{},"serving_since":0,"timeline":{"events":[],"last":0}}
        last_reload {"at":1,"result":{"Ok":1}}
        stop_callers []
        pid_file null
        log {"lines":[],"lost":0}
        "#);
    }

    /// Durations are told in seconds, which says as much.
    fn shorten(value: &mut serde_json::Value) {
        if let Some(seconds) = value.get("secs").cloned() {
            *value = seconds;
        } else if let Some(fields) = value.as_object_mut() {
            fields.values_mut().for_each(shorten);
        } else if let Some(items) = value.as_array_mut() {
            items.iter_mut().for_each(shorten);
        }
    }
}
