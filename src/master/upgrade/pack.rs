//! From a master that runs to what it hands over. Everything is taken apart field by field, so none can be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use super::state::{
    AdminListener, Client, Control, Deaths, Fetched, Hand, Inherited, Kind, Listener, Listeners,
    Replay, STATE_VERSION, Scoreboard, SlotSocket, SocketPath, State,
};
use crate::config::Fetch;
use crate::logging;
use crate::master::{
    Master, Pinned, admin, agent, control, crew, deaths, listeners, slot_sockets, socket_path,
};
use crate::replay;
use crate::scoreboard;
use crate::supervisor::{Caller, Generation, WorkerId};
use crate::sys::handover::Luggage;
use crate::sys::systemd::InheritedSocket;

impl Master {
    /// The whole state, and the descriptors that it speaks of.
    pub(super) fn pack(&self) -> (State, Luggage<'_>) {
        let mut luggage = Luggage::default();
        let Self {
            supervisor,
            started,
            loader: _,
            generations,
            crew,
            listeners,
            admin,
            control,
            // Opened anew: what has arrived stays blocked and pending.
            signals: _,
            scoreboard,
            replay,
            // Begun anew.
            rates: _,
            deaths,
            // They were answered before.
            questions: _,
            hangs,
            memory,
            ledger,
            // In the environment, which is handed on.
            systemd: _,
            processors: _,
            last_reload,
            stop_callers,
            pid_file,
            exit: _,
            upgrade,
            // Begun anew: the files are read again then.
            file_watch: _,
            agent,
            // Theirs and those of the workers that are not born yet end with this program.
            templates: _,
            // Told before, or not at all.
            happenings: _,
            // The agent that waits ends with this program, and says so to whoever gave them.
            // It was told with the outcome that it belongs to.
            traceback: _,
            orders: _,
        } = self;
        let seats: Vec<usize> = crew.iter().map(|(_, hand)| hand.seat).collect();
        let mut state = State {
            state_version: STATE_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            program: upgrade.next_program(),
            descriptors: BTreeSet::new(),
            started: *started,
            supervisor: supervisor.clone(),
            generations: generations
                .iter()
                .map(|(generation, pinned)| (*generation, pinned.loaded.text.clone()))
                .collect(),
            listeners: pack_listeners(listeners, &mut luggage),
            admin: pack_admin(admin, &mut luggage),
            control: pack_control(control, &mut luggage),
            crew: crew
                .iter()
                .map(|(id, hand)| pack_hand(id, hand, &mut luggage))
                .collect(),
            scoreboard: Scoreboard {
                memory: luggage.pack(scoreboard.file()),
                layout: scoreboard::VERSION,
                totals: scoreboard.totals(&seats),
            },
            replay: replay.as_ref().map(|replay| Replay {
                memory: luggage.pack(replay.file()),
                layout: replay::VERSION,
            }),
            fetched: pack_fetched(&agent.fetched, generations, &mut luggage),
            deaths: pack_deaths(deaths),
            hangs: hangs.clone(),
            memory: memory.clone(),
            ledger: ledger.clone(),
            last_reload: last_reload.clone(),
            stop_callers: stop_callers.clone(),
            pid_file: pid_file.clone(),
            log: logging::unwritten(),
        };
        state.descriptors = luggage.numbers();
        (state, luggage)
    }
}

fn pack_listeners<'a>(listeners: &'a listeners::Listeners, luggage: &mut Luggage<'a>) -> Listeners {
    let listeners::Listeners {
        open,
        inherited,
        serving,
        heirs,
        cannot_steer,
    } = listeners;
    Listeners {
        open: open
            .iter()
            .map(|listener| pack_listener(listener, luggage))
            .collect(),
        inherited: inherited
            .iter()
            .map(|inherited| {
                let InheritedSocket {
                    name,
                    number,
                    socket,
                } = inherited;
                Inherited {
                    name: name.clone(),
                    number: *number,
                    socket: luggage.pack(socket.as_fd()),
                }
            })
            .collect(),
        serving: serving
            .iter()
            .map(|(bind, slots)| (bind.clone(), slots.clone()))
            .collect(),
        heirs: heirs.clone(),
        cannot_steer: *cannot_steer,
    }
}

fn pack_listener<'a>(listener: &'a listeners::Listener, luggage: &mut Luggage<'a>) -> Listener {
    let listeners::Listener { bind, kind } = listener;
    let kind = match kind {
        listeners::Kind::PerSlot(sockets) => pack_slots(sockets, luggage),
        listeners::Kind::Shared {
            socket,
            address,
            path,
            inherited,
            is_leaving,
            emptied_by,
        } => Kind::Shared {
            socket: luggage.pack(socket.as_fd()),
            address: *address,
            path: path.as_ref().map(|path| pack_path(path, luggage)),
            inherited: *inherited,
            is_leaving: *is_leaving,
            emptied_by: emptied_by.clone(),
        },
    };
    Listener {
        bind: bind.clone(),
        kind,
    }
}

fn pack_slots<'a>(sockets: &'a slot_sockets::SlotSockets, luggage: &mut Luggage<'a>) -> Kind {
    let slot_sockets::SlotSockets {
        address,
        v6_only,
        backlog,
        sockets,
        serving,
    } = sockets;
    Kind::PerSlot {
        address: *address,
        v6_only: *v6_only,
        backlog: *backlog,
        sockets: sockets
            .iter()
            .map(|there| {
                let slot_sockets::SlotSocket {
                    slot,
                    socket,
                    emptied_by,
                } = there;
                SlotSocket {
                    slot: *slot,
                    socket: luggage.pack(socket.as_fd()),
                    emptied_by: *emptied_by,
                }
            })
            .collect(),
        serving: serving.clone(),
    }
}

fn pack_path<'a>(path: &'a socket_path::SocketPath, luggage: &mut Luggage<'a>) -> SocketPath {
    let socket_path::SocketPath { path, made, lock } = path;
    SocketPath {
        path: path.clone(),
        made: *made,
        lock: luggage.pack(lock.as_fd()),
    }
}

fn pack_admin<'a>(
    listeners: &'a admin::AdminListeners,
    luggage: &mut Luggage<'a>,
) -> Vec<AdminListener> {
    let admin::AdminListeners { open } = listeners;
    open.iter()
        .map(|listener| {
            let admin::AdminListener { bind, socket, path } = listener;
            AdminListener {
                bind: bind.clone(),
                socket: luggage.pack(socket.as_fd()),
                path: path.as_ref().map(|path| pack_path(path, luggage)),
            }
        })
        .collect()
}

fn pack_control<'a>(control: &'a control::ControlServer, luggage: &mut Luggage<'a>) -> Control {
    let control::ControlServer {
        listener,
        clients,
        last_caller,
        path,
        pause,
    } = control;
    Control {
        listener: listener
            .as_ref()
            .map(|(listener, path)| (luggage.pack(listener.as_fd()), pack_path(path, luggage))),
        clients: clients
            .iter()
            .map(|(caller, client)| pack_client(*caller, client, luggage))
            .collect(),
        last_caller: *last_caller,
        path: path.clone(),
        pause: *pause,
    }
}

fn pack_client<'a>(
    caller: Caller,
    client: &'a control::Client,
    luggage: &mut Luggage<'a>,
) -> Client {
    let control::Client {
        stream,
        incoming,
        outgoing,
        unanswered,
        has_finished,
    } = client;
    Client {
        caller,
        stream: luggage.pack(stream.as_fd()),
        unread: incoming.unread().to_vec(),
        unsent: outgoing.clone(),
        unanswered: *unanswered,
        has_finished: *has_finished,
    }
}

fn pack_hand<'a>(worker: WorkerId, hand: &'a crew::Hand, luggage: &mut Luggage<'a>) -> Hand {
    let crew::Hand {
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
        incoming,
        // It is only ever there for a moment: what was said is taken in at once.
        received: _,
        last_words,
        outgoing,
        passing,
    } = hand;
    Hand {
        worker,
        pid: pid.number().cast_signed(),
        slot: *slot,
        generation: *generation,
        seat: *seat,
        spawned: *spawned,
        told_to_go: *told_to_go,
        hung_for: *hung_for,
        killed: killed.map(|(reason, signal)| (reason, signal as i32)),
        replaced_for: *replaced_for,
        unwell: unwell.clone(),
        channel: channel
            .as_ref()
            .map(|channel| luggage.pack(channel.as_fd())),
        unread: incoming.unread().to_vec(),
        last_words: last_words.as_ref().map(|file| luggage.pack(file.as_fd())),
        unsent: outgoing.clone(),
        passing: passing
            .iter()
            .map(|(before, descriptor)| (*before, luggage.pack(descriptor.as_fd())))
            .collect(),
    }
}

/// Each with a generation that wants it, for the next program reads those again.
fn pack_fetched<'a>(
    fetched: &'a [agent::Fetched],
    generations: &BTreeMap<Generation, Pinned>,
    luggage: &mut Luggage<'a>,
) -> Vec<Fetched> {
    let place = |fetch: &Fetch| {
        generations.iter().find_map(|(generation, pinned)| {
            let feeds = pinned.loaded.config.feeds();
            let mut feeds = feeds.iter();
            let feed = feeds.position(|feed| feed.source.fetch() == Some(fetch))?;
            Some((*generation, feed))
        })
    };
    let pack = |fetched: &'a agent::Fetched| {
        // What it is the next agent says.
        let agent::Fetched {
            fetch,
            at,
            entries,
            file,
            content: _,
        } = fetched;
        let (generation, feed) = place(fetch)?;
        Some(Fetched {
            generation,
            feed,
            at: *at,
            entries: *entries,
            file: luggage.pack(file.as_fd()),
        })
    };
    fetched.iter().filter_map(pack).collect()
}

fn pack_deaths(deaths: &deaths::Deaths) -> Deaths {
    let deaths::Deaths {
        memory_kills,
        reports,
        suspects,
        untold,
        next_summary,
    } = deaths;
    Deaths {
        memory_kills: memory_kills.seen(),
        reports: reports.clone(),
        suspects: suspects.clone(),
        untold: *untold,
        next_summary: *next_summary,
    }
}
