//! Plays random histories against the supervisor and checks what must always hold.
//!
//! `cargo test simulation` plays a few thousand; `HISTORIES=1000000` plays more, `SEED=n` replays one that failed.
#![expect(
    clippy::print_stdout,
    reason = "the seed and the tally are what the run is for"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{
    Action, Caller, Event, ExitReason, Generation, Lifetime, Now, Policy, Scale, Slot, StopManner,
    Strategy, WorkerId,
};
use super::{State, Supervisor};

/// What the histories contained; a kind that never occurs means that the simulation tests less than it says.
#[derive(Debug, Default)]
struct Tally {
    steps: u64,
    commits: u64,
    impatient: u64,
    rollbacks: u64,
    refusals: u64,
    crashes: u64,
    boot_failures: u64,
    kills: u64,
    scales: u64,
    pauses: u64,
    replacements_wanted: u64,
    probes_failed: u64,
    probes_passed: u64,
    crashes_in_delay: u64,
    outlived: u64,
    hangs: u64,
    degradations: u64,
    recoveries: u64,
    failed_starts: u64,
    abandoned: u64,
    hand_overs: u64,
    upgrades: u64,
    failed_upgrades: u64,
    cancelled_upgrades: u64,
}

#[test]
fn simulation() {
    let replayed = std::env::var("SEED")
        .ok()
        .map(|seed| seed.parse().expect("SEED is a number"));
    let histories = std::env::var("HISTORIES")
        .map_or(3_000, |count| count.parse().expect("HISTORIES is a number"));
    let mut tally = Tally::default();
    match replayed {
        Some(seed) => World::new(seed, true).play(&mut tally),
        None => (0..histories).for_each(|seed| {
            let result = std::panic::catch_unwind(|| {
                let mut tally = Tally::default();
                World::new(seed, false).play(&mut tally);
                tally
            });
            match result {
                Ok(one) => tally.add(&one),
                Err(panic) => {
                    println!(
                        "history {seed} failed; replay it with SEED={seed} cargo test simulation"
                    );
                    std::panic::resume_unwind(panic);
                }
            }
        }),
    }
    println!("{tally:#?}");
    if replayed.is_none() {
        tally.assert_complete();
    }
}

impl Tally {
    fn counts(&mut self) -> [(&'static str, &mut u64); 24] {
        [
            ("steps", &mut self.steps),
            ("commits", &mut self.commits),
            ("impatient", &mut self.impatient),
            ("rollbacks", &mut self.rollbacks),
            ("refusals", &mut self.refusals),
            ("crashes", &mut self.crashes),
            ("boot_failures", &mut self.boot_failures),
            ("kills", &mut self.kills),
            ("scales", &mut self.scales),
            ("pauses", &mut self.pauses),
            ("replacements_wanted", &mut self.replacements_wanted),
            ("probes_failed", &mut self.probes_failed),
            ("probes_passed", &mut self.probes_passed),
            ("crashes_in_delay", &mut self.crashes_in_delay),
            ("outlived", &mut self.outlived),
            ("hangs", &mut self.hangs),
            ("degradations", &mut self.degradations),
            ("recoveries", &mut self.recoveries),
            ("failed_starts", &mut self.failed_starts),
            ("abandoned", &mut self.abandoned),
            ("hand_overs", &mut self.hand_overs),
            ("upgrades", &mut self.upgrades),
            ("failed_upgrades", &mut self.failed_upgrades),
            ("cancelled_upgrades", &mut self.cancelled_upgrades),
        ]
    }

    fn add(&mut self, other: &Self) {
        let mut other = Self { ..*other };
        for ((_, sum), (_, count)) in self.counts().into_iter().zip(other.counts()) {
            *sum += *count;
        }
    }

    fn assert_complete(&mut self) {
        for (name, count) in self.counts() {
            assert!(*count > 0, "no history had any {name}");
        }
    }
}

/// A process as the kernel sees it.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent quirks of a process"
)]
struct Process {
    slot: Slot,
    generation: Generation,
    accepting: bool,
    /// Told to accept, and not at its end of that yet, though it may have been told.
    may_accept: bool,
    /// Told to, or by itself because it cannot boot.
    goes: bool,
    killed: bool,
    was_ready: bool,
    /// It does nothing more by itself, whatever it is told.
    hangs: bool,
    /// By when one that was sent SIGABRT must be killed, or gone.
    aborted_until: Option<Now>,
    /// How long it takes to finish when told to drain; `None`: for ever.
    drains_in: Option<Duration>,
    /// How long the kernel takes to end it.
    dies_in: Duration,
}

/// What will happen to the world when its time comes.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Ready(WorkerId),
    /// Its process was born; it may have been given up before.
    BootBegins(WorkerId),
    BootFails(WorkerId),
    /// It was told to drain; it may have ended before.
    StopsAccepting(WorkerId),
    Ends(WorkerId),
    /// It is well again; it may have ended before.
    ProbePasses(WorkerId),
    /// The program that was asked has answered, or its time is over.
    PreflightEnds(u64),
    /// It hangs from now on; it may have ended before.
    Hangs(WorkerId),
    /// The master has noticed that it hangs.
    HangNoticed(WorkerId),
    Operator,
}

/// Kernel, application and operator, all played by one seed.
struct World {
    random: fastrand::Rng,
    trace: bool,
    now: Now,
    supervisor: Supervisor,
    policies: BTreeMap<Generation, Policy>,
    processes: BTreeMap<WorkerId, Process>,
    used: BTreeSet<WorkerId>,
    agenda: BTreeMap<(Now, u64), Happening>,
    scheduled: u64,
    /// The program that is being asked, by number.
    asked: Option<u64>,
    programs: u64,
    waiting: BTreeSet<Caller>,
    callers: u64,
    /// Slots that shall be served and whose worker was told to go before another one accepted there.
    unserved: BTreeSet<Slot>,
    /// By when the master must be gone.
    stop_by: Option<Now>,
    /// When a generation was last put into force.
    committed: Now,
    exit: Option<ExitReason>,
    /// What goes wrong in this history, in per cent.
    bad_boots: u32,
    bad_lives: u32,
    hanging: u32,
}

fn random_policy(random: &mut fastrand::Rng) -> Policy {
    let strategy = match random.u8(0..4) {
        0 | 1 => Strategy::BlueGreen,
        2 => Strategy::Rolling {
            max_surge: random.u16(1..3),
            max_unavailable: random.u16(0..2),
        },
        _ => Strategy::Rolling {
            max_surge: 0,
            max_unavailable: random.u16(1..3),
        },
    };
    Policy {
        workers: random.u16(1..5),
        strategy,
        boot_timeout: Duration::from_secs(random.u64(2..20)),
        graceful_timeout: Duration::from_secs(random.u64(1..30)),
        drain_delay: Duration::from_millis(random.u64(0..2) * random.u64(0..20_000)),
        backoff_initial: Duration::from_millis(100),
        backoff_max: Duration::from_secs(30),
        backoff_reset: Duration::from_mins(1),
        lifetime: (random.u8(0..3) == 0).then(|| Lifetime {
            at_least: Duration::from_secs(random.u64(5..100)),
            jitter_max: Duration::from_secs(random.u64(0..20)),
        }),
        wants_stand_in: random.u8(0..4) == 0,
    }
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let policy = random_policy(&mut random);
        let bad_boots = *random.choice(&[0, 2, 10, 50]).expect("not empty");
        let bad_lives = *random.choice(&[0, 10, 60]).expect("not empty");
        let hanging = *random.choice(&[0, 0, 10, 60]).expect("not empty");
        let supervisor = Supervisor::new(policy.clone(), seed);
        let mut world = Self {
            random,
            trace,
            now: Now::ZERO,
            supervisor,
            policies: BTreeMap::from([(Generation(1), policy)]),
            processes: BTreeMap::new(),
            used: BTreeSet::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            asked: None,
            programs: 0,
            waiting: BTreeSet::new(),
            callers: 0,
            unserved: BTreeSet::new(),
            stop_by: None,
            committed: Now::ZERO,
            exit: None,
            bad_boots,
            bad_lives,
            hanging,
        };
        for _ in 0..world.random.u8(2..12) {
            let at = Duration::from_millis(world.random.u64(0..300_000));
            world.schedule(at, Happening::Operator);
        }
        world
    }

    fn play(mut self, tally: &mut Tally) {
        self.step(Event::DeadlinePassed, tally);
        while self.exit.is_none() {
            tally.steps += 1;
            assert!(tally.steps < 100_000, "the history does not end");
            // Workers with a lifetime follow one another for ever.
            if self.now > Duration::from_mins(15) && self.stop_by.is_none() {
                self.stop(StopManner::Graceful, tally);
            }
            let deadline = self.supervisor.next_deadline();
            let next = self.agenda.keys().next().copied();
            match (deadline, next) {
                (Some(deadline), next) if next.is_none_or(|(at, _)| deadline <= at) => {
                    assert!(
                        deadline > self.now,
                        "the deadline {deadline:?} does not lie ahead of {:?}",
                        self.now
                    );
                    self.now = deadline;
                    self.step(Event::DeadlinePassed, tally);
                }
                (_, Some(key)) => {
                    let happening = self.agenda.remove(&key).expect("just seen");
                    self.now = self.now.max(key.0);
                    self.happen(happening, tally);
                }
                (_, None) => {
                    self.assert_steady();
                    self.stop(StopManner::Graceful, tally);
                }
            }
        }
        assert!(
            self.waiting.is_empty(),
            "callers without an answer: {:?}",
            self.waiting
        );
        if self.exit != Some(ExitReason::Stopped) {
            tally.failed_starts += 1;
        }
        if !self.processes.is_empty() {
            tally.abandoned += 1;
            let all_killed = self.processes.values().all(|process| process.killed);
            assert!(
                all_killed,
                "the master left a worker that it had not killed"
            );
        }
    }

    fn schedule(&mut self, at: Now, happening: Happening) {
        self.scheduled += 1;
        self.agenda.insert((at, self.scheduled), happening);
    }

    fn happen(&mut self, happening: Happening, tally: &mut Tally) {
        match happening {
            Happening::Ready(id) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.was_ready = true;
                    self.step(Event::Ready(id), tally);
                }
            }
            Happening::BootBegins(id) => self.step(Event::BootBegins(id), tally),
            Happening::BootFails(id) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    tally.boot_failures += 1;
                    process.goes = true;
                    let ends = self.now + Duration::from_millis(self.random.u64(0..3_000));
                    self.schedule(ends, Happening::Ends(id));
                    self.step(Event::BootFailed(id, "no database".to_owned()), tally);
                }
            }
            Happening::StopsAccepting(id) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.may_accept = false;
                    self.step(Event::StoppedAccepting(id), tally);
                }
            }
            Happening::Hangs(id) => {
                if let Some(process) = self.processes.get_mut(&id)
                    && !process.killed
                {
                    process.hangs = true;
                    let after = Duration::from_millis(self.random.u64(1_000..5_000));
                    self.schedule(self.now + after, Happening::HangNoticed(id));
                }
            }
            // Also of one that has been killed meanwhile, or has ended.
            Happening::HangNoticed(id) => self.step(Event::Hung(id), tally),
            Happening::Ends(id) => {
                let must_end = |process: &Process| {
                    !process.hangs || process.killed || process.aborted_until.is_some()
                };
                if self.processes.get(&id).is_some_and(must_end)
                    && let Some(process) = self.processes.remove(&id)
                {
                    if process.was_ready && !process.goes && !process.killed {
                        tally.crashes += 1;
                        let delayed =
                            self.supervisor.is_stopping() && !self.supervisor.is_draining();
                        tally.crashes_in_delay += u64::from(delayed);
                    }
                    self.step(Event::Exited(id, "exit code 1".to_owned()), tally);
                }
            }
            Happening::ProbePasses(id) => {
                let is_there = self.processes.get(&id).is_some_and(|it| it.accepting);
                tally.probes_passed += u64::from(is_there);
                self.step(Event::ProbePassed(id), tally);
            }
            Happening::PreflightEnds(program) => self.end_preflight(program, tally),
            Happening::Operator => {
                // One thing leads to another.
                if self.random.u8(0..3) == 0 {
                    let soon = self.now + Duration::from_millis(self.random.u64(0..3_000));
                    self.schedule(soon, Happening::Operator);
                }
                self.operate(tally);
            }
        }
    }

    fn operate(&mut self, tally: &mut Tally) {
        match self.random.u8(0..24) {
            20..24 => self.probe(tally),
            16..20 => {
                let caller = self.maybe_caller();
                let program = self.random.bool().then(|| "/opt/new".into());
                self.step(Event::UpgradeRequested { caller, program }, tally);
            }
            12..16 => {
                let serve = self
                    .processes
                    .iter()
                    .filter(|(_, process)| process.accepting);
                let serve: Vec<WorkerId> = serve.map(|(id, _)| *id).collect();
                for id in serve.into_iter().take(self.random.usize(1..4)) {
                    tally.replacements_wanted += 1;
                    self.step(Event::ReplacementWanted(id), tally);
                }
            }
            0..6 => {
                let caller = self.maybe_caller();
                self.step(Event::ReloadRequested(caller), tally);
            }
            6..9 => {
                tally.scales += 1;
                let scale = match self.random.u8(0..3) {
                    0 => Scale::Up,
                    1 => Scale::Down,
                    _ => Scale::To(self.random.u16(1..6)),
                };
                let caller = self.maybe_caller();
                self.step(Event::ScaleRequested(scale, caller), tally);
            }
            9 => {
                tally.pauses += 1;
                self.step(Event::PauseRequested, tally);
            }
            10 => self.stop(StopManner::Graceful, tally),
            _ => self.stop(StopManner::Fast, tally),
        }
    }

    /// Something is gone that some of the workers need, or all; or it is there again.
    fn probe(&mut self, tally: &mut Tally) {
        let serving = self
            .processes
            .iter()
            .filter(|(_, process)| process.accepting);
        let serving: Vec<WorkerId> = serving.map(|(id, _)| *id).collect();
        for id in serving.into_iter().take(self.random.usize(1..5)) {
            let again = self.now + Duration::from_millis(self.random.u64(0..60_000));
            tally.probes_failed += 1;
            self.step(Event::ProbeFailed(id, "503".to_owned()), tally);
            if self.random.u8(0..3) > 0 {
                self.schedule(again, Happening::ProbePasses(id));
            }
        }
    }

    /// The program that was asked takes over, or does not.
    fn end_preflight(&mut self, program: u64, tally: &mut Tally) {
        if self.asked != Some(program) {
            return;
        }
        self.asked = None;
        assert!(self.supervisor.awaits_preflight());
        if self.random.u8(0..4) == 0 {
            tally.failed_upgrades += 1;
            self.step(Event::UpgradeFailed("it crashed".to_owned()), tally);
            return;
        }
        tally.upgrades += 1;
        assert!(
            !self.supervisor.is_reloading(),
            "a candidate would have to be handed over"
        );
        self.hand_over(tally);
        self.step(Event::Upgraded, tally);
        assert!(!self.supervisor.awaits_preflight());
    }

    /// What the supervisor knows is written down, and another one goes on with that.
    fn hand_over(&mut self, tally: &mut Tally) {
        tally.hand_overs += 1;
        let written = serde_json::to_vec(&self.supervisor).expect("can be written");
        let after: Supervisor = serde_json::from_slice(&written).expect("can be read");
        let before = std::mem::replace(&mut self.supervisor, after);
        assert_eq!(format!("{before:?}"), format!("{:?}", self.supervisor));
        let known: BTreeSet<WorkerId> = self.supervisor.workers().map(|worker| worker.id).collect();
        let lost: Vec<_> = self
            .processes
            .keys()
            .filter(|id| !known.contains(id))
            .collect();
        assert!(lost.is_empty(), "processes that nobody owns: {lost:?}");
    }

    fn maybe_caller(&mut self) -> Option<Caller> {
        self.random.bool().then(|| {
            self.callers += 1;
            self.waiting.insert(Caller(self.callers));
            Caller(self.callers)
        })
    }

    fn stop(&mut self, manner: StopManner, tally: &mut Tally) {
        let serving = self.supervisor.serving();
        let (_, last) = self.policies.last_key_value().expect("one at least");
        let policy = serving.map_or(last, |serving| &self.policies[&serving]);
        let bound = match manner {
            // One for every state: booting, reloading, rolling back, paused, crashing.
            StopManner::Graceful => policy.drain_delay + policy.graceful_timeout,
            StopManner::Fast => Duration::from_secs(1),
        };
        let by = self.now + bound + Duration::from_millis(500);
        self.stop_by = Some(self.stop_by.map_or(by, |before| before.min(by)));
        self.step(Event::StopRequested(manner), tally);
    }

    /// One event, what follows from it, and every check.
    fn step(&mut self, event: Event, tally: &mut Tally) {
        if self.exit.is_some() {
            return;
        }
        let mut answers = vec![event];
        while let Some(event) = answers.pop() {
            let actions = self.supervisor.handle(self.now, event.clone());
            if self.trace {
                println!("{:>10.3?} {event:?} -> {actions:?}", self.now);
            }
            let committed = actions
                .iter()
                .any(|action| matches!(action, Action::Commit(_)));
            let sent_away: Vec<WorkerId> = actions
                .iter()
                .filter_map(|action| match action {
                    Action::Drain { worker, .. }
                    | Action::Quit(worker)
                    | Action::Kill(worker, _) => Some(*worker),
                    _ => None,
                })
                .filter(|id| {
                    self.processes
                        .get(id)
                        .is_some_and(|process| process.accepting)
                })
                .collect();
            for action in actions {
                self.perform(action, &mut answers, tally);
            }
            self.note_sent_away(&sent_away);
            self.check(committed);
        }
        if self.exit.is_none() && self.random.u8(0..8) == 0 {
            self.hand_over(tally);
        }
        let again = self.supervisor.handle(self.now, Event::DeadlinePassed);
        assert!(
            again.is_empty(),
            "asked again at once, it wanted more: {again:?}"
        );
        if let Some(by) = self.stop_by {
            assert!(
                self.now <= by,
                "still there at {:?}, should have gone by {by:?}",
                self.now
            );
        }
    }

    fn perform(&mut self, action: Action, answers: &mut Vec<Event>, tally: &mut Tally) {
        match action {
            Action::Prepare | Action::PrepareStandIn(_) => {
                assert!(
                    !self.supervisor.is_stopping(),
                    "a reload begins though the master is stopping"
                );
                let policy = random_policy(&mut self.random);
                if self.random.u8(0..5) == 0 {
                    tally.refusals += 1;
                    answers.push(Event::Refused("unknown key".to_owned()));
                } else {
                    let next = Generation(self.policies.keys().max().expect("one at least").0 + 1);
                    self.policies.insert(next, policy.clone());
                    answers.push(Event::Prepared(policy));
                }
            }
            Action::Preflight(_) => {
                assert_eq!(self.asked, None, "two programs are asked at once");
                assert!(
                    self.supervisor.serving().is_some() && !self.supervisor.is_reloading(),
                    "a candidate would have to be handed over"
                );
                self.programs += 1;
                self.asked = Some(self.programs);
                let answers = self.now + Duration::from_millis(self.random.u64(0..20_000));
                self.schedule(answers, Happening::PreflightEnds(self.programs));
            }
            Action::CancelPreflight => {
                tally.cancelled_upgrades += 1;
                assert!(self.asked.take().is_some(), "nobody was asked");
            }
            Action::Spawn {
                worker,
                slot,
                generation,
            } => self.spawn(worker, slot, generation),
            Action::Accept(id) => {
                self.process(id).accepting = true;
                self.process(id).may_accept = true;
            }
            Action::Drain {
                worker: id,
                queue_has_heir: _,
            } => {
                self.process(id).accepting = false;
                self.process(id).goes = true;
                let drains_in = self.process(id).drains_in;
                if let Some(time) = drains_in {
                    self.schedule(self.now + time, Happening::Ends(id));
                }
                if !self.process(id).hangs {
                    let most = if self.random.u8(0..10) == 0 {
                        3_000
                    } else {
                        20
                    };
                    let after = Duration::from_millis(self.random.u64(0..most));
                    self.schedule(self.now + after, Happening::StopsAccepting(id));
                }
            }
            Action::Quit(id) => {
                self.process(id).accepting = false;
                self.process(id).goes = true;
                if self.random.bool() {
                    self.schedule(self.now + Duration::from_millis(20), Happening::Ends(id));
                }
            }
            Action::Abort(id) => {
                tally.hangs += 1;
                let until = self.now + Duration::from_secs(1);
                let blocks_it = self.random.u8(0..4) == 0;
                let dies_in = self.process(id).dies_in;
                let process = self.process(id);
                assert!(
                    process.hangs,
                    "worker {id} is aborted though it does not hang"
                );
                assert!(!process.killed && process.aborted_until.is_none());
                process.aborted_until = Some(until);
                process.accepting = false;
                process.goes = true;
                if !blocks_it {
                    self.schedule(self.now + dies_in, Happening::Ends(id));
                }
            }
            Action::Kill(id, _) => {
                tally.kills += 1;
                let process = self.process(id);
                assert!(!process.killed, "worker {id} is killed twice");
                process.killed = true;
                process.accepting = false;
                let ends = self.now + self.process(id).dies_in;
                self.schedule(ends, Happening::Ends(id));
            }
            Action::Outlived(_) => tally.outlived += 1,
            Action::Commit(_) => {
                tally.commits += 1;
                self.committed = self.now;
            }
            Action::TakenOver => {
                let serving = self.supervisor.serving();
                let before = self
                    .processes
                    .values()
                    .any(|process| process.may_accept && Some(process.generation) < serving);
                if before {
                    tally.impatient += 1;
                    assert_eq!(self.now, self.committed + Duration::from_secs(1));
                }
            }
            Action::RollBack(..) => tally.rollbacks += 1,
            Action::Forget(generation) => {
                let used = self
                    .processes
                    .values()
                    .any(|process| process.generation == generation);
                assert!(
                    !used,
                    "generation {generation} is forgotten while a worker runs it"
                );
            }
            Action::Degraded { .. } => tally.degradations += 1,
            Action::Recovered => tally.recoveries += 1,
            Action::AnswerUpgrade(caller, outcome) => {
                assert!(
                    outcome.is_err() || !self.supervisor.is_stopping(),
                    "{caller:?} was served though the master is stopping"
                );
                assert!(self.waiting.remove(&caller), "{caller:?} is answered twice");
            }
            Action::Answer(caller, outcome) => {
                assert!(
                    outcome.is_err() || !self.supervisor.is_stopping(),
                    "{caller:?} was served though the master is stopping"
                );
                assert!(self.waiting.remove(&caller), "{caller:?} is answered twice");
            }
            Action::Exit(reason) => self.exit = Some(reason),
        }
    }

    fn process(&mut self, id: WorkerId) -> &mut Process {
        self.processes
            .get_mut(&id)
            .unwrap_or_else(|| panic!("worker {id} does not run"))
    }

    fn spawn(&mut self, id: WorkerId, slot: Slot, generation: Generation) {
        assert!(self.used.insert(id), "worker id {id} is used twice");
        let lasting = self.random.u8(0..30) == 0;
        let process = Process {
            slot,
            generation,
            accepting: false,
            may_accept: false,
            goes: false,
            killed: false,
            was_ready: false,
            hangs: false,
            aborted_until: None,
            drains_in: (self.random.u8(0..10) > 0)
                .then(|| Duration::from_millis(self.random.u64(0..20_000))),
            dies_in: if lasting {
                Duration::from_secs(5)
            } else {
                Duration::from_millis(self.random.u64(0..20))
            },
        };
        self.processes.insert(id, process);
        let boot = self.now + Duration::from_millis(self.random.u64(5..2_000));
        if self.random.u8(0..4) == 0 {
            // It had to wait for what it is forked from, maybe for longer than the one below boots.
            let birth = self.now + Duration::from_millis(self.random.u64(0..10_000));
            self.schedule(birth, Happening::BootBegins(id));
        }
        if self.random.u32(0..100) < self.bad_boots {
            match self.random.u8(0..4) {
                0 => {
                    // fork(2) itself failed.
                    self.schedule(self.now, Happening::BootFails(id));
                    self.schedule(self.now, Happening::Ends(id));
                }
                1 => self.schedule(boot, Happening::BootFails(id)),
                2 => self.schedule(boot, Happening::Ends(id)),
                _ => {} // It hangs.
            }
            return;
        }
        self.schedule(boot, Happening::Ready(id));
        if self.random.u32(0..100) < self.bad_lives {
            let life = Duration::from_millis(self.random.u64(0..100_000));
            self.schedule(boot + life, Happening::Ends(id));
        }
        if self.random.u32(0..100) < self.hanging {
            let life = Duration::from_millis(self.random.u64(0..100_000));
            self.schedule(boot + life, Happening::Hangs(id));
        }
    }

    fn check(&self, committed: bool) {
        let draining = self.supervisor.is_draining();
        let serving = self.supervisor.serving();
        for (id, process) in &self.processes {
            let in_time = process.aborted_until.is_none_or(|until| self.now <= until);
            assert!(
                process.killed || in_time,
                "worker {id} was aborted and is left"
            );
        }
        for worker in self.supervisor.workers() {
            let process = self.processes.get(&worker.id);
            if matches!(worker.state, State::Accepting { .. }) {
                assert!(
                    process.is_none_or(|process| process.accepting),
                    "{} should accept but was not told",
                    worker.id
                );
            }
        }
        if committed {
            let two = self
                .processes
                .values()
                .any(|process| process.accepting && Some(process.generation) != serving);
            assert!(!two, "two generations accept after the commit");
        }
        if draining || self.supervisor.wanted() == 0 {
            return;
        }
        let under_way = self.replacements_under_way();
        assert!(
            under_way <= self.max_unavailable().max(1),
            "{under_way} replacements at once"
        );
        assert!(
            self.unserved.len() <= self.max_unavailable(),
            "slots were given up: {:?}",
            self.unserved
        );
    }

    /// Nobody waits beside a worker of the same generation that stays: it would never be wanted.
    fn assert_no_surplus(&self) {
        let serving = self.supervisor.serving();
        let mut there: BTreeMap<Slot, usize> = BTreeMap::new();
        for process in self.processes.values() {
            if Some(process.generation) == serving && process.accepting {
                *there.entry(process.slot).or_default() += 1;
            }
        }
        assert!(
            there.values().all(|accepting| *accepting == 1),
            "a slot has two workers: {there:?}"
        );
    }

    /// How many slots of the serving generation have a worker that accepts and one that is on its way there.
    fn replacements_under_way(&self) -> usize {
        let serving = self.supervisor.serving();
        let slots = |accepting: bool| -> BTreeSet<Slot> {
            let there = self.processes.values().filter(|process| {
                Some(process.generation) == serving
                    && process.accepting == accepting
                    && !process.goes
                    && !process.killed
            });
            there.map(|process| process.slot).collect()
        };
        slots(true).intersection(&slots(false)).count()
    }

    /// How many slots the strategies of this history let go without a worker.
    fn max_unavailable(&self) -> usize {
        let allowed = self.policies.values().map(|policy| match policy.strategy {
            Strategy::BlueGreen => 0,
            Strategy::Rolling {
                max_unavailable, ..
            } => usize::from(max_unavailable),
        });
        allowed.max().unwrap_or(0)
    }

    /// Notes the slots whose only worker was sent away though the slot shall be served: nobody died there, so it was a choice.
    fn note_sent_away(&mut self, sent_away: &[WorkerId]) {
        let before = self.unserved.clone();
        for id in sent_away {
            let slot = self.processes.get(id).map(|process| process.slot);
            self.unserved.extend(slot);
        }
        let wanted = self.supervisor.wanted();
        let served: BTreeSet<Slot> = self
            .processes
            .values()
            .filter(|process| process.accepting)
            .map(|process| process.slot)
            .collect();
        self.unserved
            .retain(|slot| slot.0 < wanted && !served.contains(slot));
        if self.supervisor.is_stopping() && !self.supervisor.is_draining() {
            assert!(
                self.unserved.is_subset(&before),
                "in the delay of a stop slots were given up: {:?}",
                self.unserved
            );
        }
    }

    /// Nothing is going to happen any more: then everyone who shall serve must serve.
    fn assert_steady(&self) {
        assert!(
            self.waiting.is_empty(),
            "nothing is awaited but by {:?}",
            self.waiting
        );
        self.assert_no_surplus();
        let accepting = self
            .processes
            .values()
            .filter(|process| process.accepting)
            .count();
        assert!(
            accepting == usize::from(self.supervisor.wanted()),
            "{accepting} of {} serve, and nothing is awaited",
            self.supervisor.wanted()
        );
    }
}
