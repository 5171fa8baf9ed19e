//! One test for each rule. Time is made up: `at(3)` is three seconds after the start.

use std::time::Duration;

use super::event::{
    Action, Caller, Done, Event, ExitReason, Generation, KillReason, Lifetime, Now, Policy, Scale,
    Slot, StopManner, Strategy, WorkerId,
};
use super::{State, Supervisor};

fn at(seconds: u64) -> Now {
    Duration::from_secs(seconds)
}

fn at_ms(milliseconds: u64) -> Now {
    Duration::from_millis(milliseconds)
}

fn policy(workers: u16) -> Policy {
    Policy {
        workers,
        strategy: Strategy::BlueGreen,
        boot_timeout: at(30),
        graceful_timeout: at(20),
        drain_delay: at(0),
        backoff_initial: at_ms(100),
        backoff_max: at(30),
        backoff_reset: at(60),
        lifetime: None,
        wants_stand_in: false,
    }
}

fn rolling(workers: u16, max_surge: u16, max_unavailable: u16) -> Policy {
    Policy {
        strategy: Strategy::Rolling {
            max_surge,
            max_unavailable,
        },
        ..policy(workers)
    }
}

fn id(worker: u64) -> WorkerId {
    WorkerId(worker)
}

fn spawned(actions: &[Action]) -> Vec<(u64, u16, u64)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Spawn {
                worker,
                slot,
                generation,
            } => Some((worker.0, slot.0, generation.0)),
            _ => None,
        })
        .collect()
}

fn accepted(actions: &[Action]) -> Vec<u64> {
    actions
        .iter()
        .filter_map(|action| {
            if let Action::Accept(worker) = action {
                Some(worker.0)
            } else {
                None
            }
        })
        .collect()
}

fn drained(actions: &[Action]) -> Vec<u64> {
    actions
        .iter()
        .filter_map(|action| {
            if let Action::Drain { worker, .. } = action {
                Some(worker.0)
            } else {
                None
            }
        })
        .collect()
}

fn died(worker: u64) -> Event {
    Event::Exited(id(worker), "killed by SIGKILL".to_owned())
}

/// A server whose first generation serves with workers `1..=count` since second 1.
fn serving(policy: Policy) -> Supervisor {
    let count = u64::from(policy.workers);
    let mut supervisor = Supervisor::new(policy, 7);
    let actions = supervisor.handle(at(0), Event::DeadlinePassed);
    assert_eq!(spawned(&actions).len() as u64, count);
    for worker in 1..=count {
        let _actions = supervisor.handle(at(1), Event::Ready(id(worker)));
    }
    assert_eq!(supervisor.serving(), Some(Generation(1)));
    supervisor
}

#[track_caller]
fn assert_told_of_the_stop(actions: &[Action]) {
    let told = Action::Answer(Caller(1), Err("the master is stopping".to_owned()));
    assert!(actions.contains(&told), "{actions:?}");
}

/// What is told of the first reload when nobody of the generation before takes connections any more.
const TAKEN_OVER: [Action; 2] = [
    Action::TakenOver,
    Action::Answer(Caller(1), Ok(Done::Reloaded(Generation(2)))),
];

fn reload(supervisor: &mut Supervisor, now: Now, policy: Policy) -> Vec<Action> {
    let actions = supervisor.handle(now, Event::ReloadRequested(Some(Caller(1))));
    assert!(actions.contains(&Action::Prepare), "{actions:?}");
    supervisor.handle(now, Event::Prepared(policy))
}

#[test]
fn nobody_accepts_until_the_whole_first_generation_is_ready() {
    let mut supervisor = Supervisor::new(policy(2), 7);
    assert_eq!(
        spawned(&supervisor.handle(at(0), Event::DeadlinePassed)),
        [(1, 0, 1), (2, 1, 1)]
    );
    assert_eq!(
        accepted(&supervisor.handle(at(1), Event::Ready(id(1)))),
        [0; 0]
    );
    let actions = supervisor.handle(at(2), Event::Ready(id(2)));
    assert_eq!(
        actions,
        [
            Action::Commit(Generation(1)),
            Action::TakenOver,
            Action::Accept(id(1)),
            Action::Accept(id(2))
        ]
    );
}

#[test]
fn a_first_boot_that_fails_ends_the_master_with_the_reason() {
    let mut supervisor = Supervisor::new(policy(2), 7);
    let _actions = supervisor.handle(at(0), Event::DeadlinePassed);
    let actions = supervisor.handle(at(1), Event::BootFailed(id(1), "no database".to_owned()));
    assert!(
        actions.contains(&Action::Kill(id(2), KillReason::Unwanted)),
        "{actions:?}"
    );
    let _actions = supervisor.handle(at(1), died(1));
    let actions = supervisor.handle(at(1), died(2));
    let reason = "worker 1 could not boot: no database".to_owned();
    assert_eq!(
        actions.last(),
        Some(&Action::Exit(ExitReason::BootFailed(reason)))
    );
}

#[test]
fn a_worker_that_does_not_become_ready_in_time_is_killed() {
    let mut supervisor = Supervisor::new(policy(1), 7);
    let _actions = supervisor.handle(at(0), Event::DeadlinePassed);
    assert_eq!(supervisor.next_deadline(), Some(at(30)));
    assert_eq!(supervisor.handle(at(29), Event::DeadlinePassed), []);
    let actions = supervisor.handle(at(30), Event::DeadlinePassed);
    assert_eq!(
        actions.first(),
        Some(&Action::Kill(id(1), KillReason::BootTimeout))
    );
}

#[test]
fn a_crashed_worker_is_replaced_at_once_in_its_slot() {
    let mut supervisor = serving(policy(2));
    assert_eq!(spawned(&supervisor.handle(at(5), died(2))), [(3, 1, 1)]);
}

#[test]
fn a_slot_that_keeps_crashing_is_waited_for_longer_each_time() {
    let mut supervisor = serving(policy(1));
    let mut now = at(5);
    let mut waits = Vec::new();
    for worker in 1..12 {
        let _actions = supervisor.handle(now, Event::Ready(id(worker)));
        let crashed = now;
        let mut actions = supervisor.handle(now, died(worker));
        while spawned(&actions).is_empty() {
            now = supervisor.next_deadline().expect("a replacement is due");
            actions = supervisor.handle(now, Event::DeadlinePassed);
        }
        waits.push(now.checked_sub(crashed).unwrap());
    }
    assert_eq!(waits[0], at(0));
    for (wait, plain) in waits[1..].iter().zip([
        100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000,
    ]) {
        assert!(
            (at_ms(plain)..=at_ms(plain + plain / 4)).contains(wait),
            "{wait:?} for {plain} ms"
        );
    }
}

#[test]
fn a_worker_whose_process_is_born_late_has_its_boot_time_out_from_there() {
    let mut supervisor = Supervisor::new(policy(1), 7);
    let _actions = supervisor.handle(at(0), Event::DeadlinePassed);
    // What it is forked from took so long.
    let _actions = supervisor.handle(at(29), Event::BootBegins(id(1)));
    assert_eq!(supervisor.next_deadline(), Some(at(59)));
    let actions = supervisor.handle(at(58), Event::Ready(id(1)));
    assert_eq!(accepted(&actions), [1]);
    // Of one that has booted it says nothing.
    let _actions = supervisor.handle(at(60), Event::BootBegins(id(1)));
    assert_eq!(supervisor.next_deadline(), None);
}

#[test]
fn a_worker_that_was_healthy_long_enough_starts_with_a_clean_slate() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), died(1));
    let _actions = supervisor.handle(at(6), Event::Ready(id(2)));
    assert_eq!(spawned(&supervisor.handle(at(66), died(2))).len(), 1);
}

#[test]
fn an_application_that_cannot_boot_is_tried_at_most_ten_times_a_minute() {
    for workers in [1, 2, 4, 8] {
        let mut supervisor = serving(policy(workers));
        let mut attempts = Vec::new();
        let mut now = at(100);
        let mut running: Vec<u64> = (1..=u64::from(workers)).collect();
        while now < at(700) {
            let mut actions = Vec::new();
            for worker in std::mem::take(&mut running) {
                actions.extend(supervisor.handle(now, died(worker)));
            }
            actions.extend(supervisor.handle(now, Event::DeadlinePassed));
            for (worker, ..) in spawned(&actions) {
                attempts.push(now);
                running.push(worker);
            }
            if running.is_empty() {
                now = supervisor.next_deadline().expect("the next attempt is due");
            }
        }
        let worst = attempts.iter().map(|first| {
            attempts
                .iter()
                .filter(|time| (*first..*first + at(60)).contains(*time))
                .count()
        });
        let worst = worst.max().expect("there were attempts");
        assert!(
            worst <= 10,
            "{worst} boots in a minute with {workers} workers: {attempts:?}"
        );
        assert!(attempts.len() > 20, "it gave up after {attempts:?}");
    }
}

#[test]
fn workers_that_keep_dying_are_reported_once_and_so_is_their_recovery() {
    let mut supervisor = serving(policy(1));
    let mut reports = Vec::new();
    let mut take = |actions: Vec<Action>| {
        reports.extend(
            actions
                .into_iter()
                .filter(|action| matches!(action, Action::Degraded { .. } | Action::Recovered)),
        );
    };
    for worker in 1..4 {
        take(supervisor.handle(at(worker), died(worker)));
        take(supervisor.handle(at(worker), Event::DeadlinePassed));
        while supervisor.workers().next().is_none() {
            let next = supervisor.next_deadline().expect("a replacement is due");
            take(supervisor.handle(next, Event::DeadlinePassed));
        }
        take(supervisor.handle(at(worker + 1), Event::Ready(id(worker + 1))));
    }
    assert!(supervisor.is_degraded());
    assert_eq!(supervisor.next_deadline(), Some(at(64)));
    take(supervisor.handle(at(64), Event::DeadlinePassed));
    let reason = "killed by SIGKILL".to_owned();
    assert_eq!(
        reports,
        [
            Action::Degraded {
                failures: 2,
                reason
            },
            Action::Recovered
        ]
    );
}

#[test]
fn a_reload_boots_the_new_generation_beside_the_old_and_then_swaps() {
    let mut supervisor = serving(policy(2));
    assert_eq!(
        spawned(&reload(&mut supervisor, at(10), policy(2))),
        [(3, 0, 2), (4, 1, 2)]
    );
    assert_eq!(supervisor.handle(at(11), Event::Ready(id(3))), []);
    let actions = supervisor.handle(at(12), Event::Ready(id(4)));
    assert_eq!(
        actions,
        [
            Action::Commit(Generation(2)),
            Action::Accept(id(3)),
            Action::Accept(id(4)),
            Action::Drain {
                worker: id(1),
                queue_has_heir: true
            },
            Action::Drain {
                worker: id(2),
                queue_has_heir: true
            },
        ]
    );
    assert_eq!(
        supervisor.handle(at(12), Event::StoppedAccepting(id(2))),
        []
    );
    assert!(supervisor.is_reloading());
    assert_eq!(
        supervisor.handle(at(12), Event::StoppedAccepting(id(1))),
        TAKEN_OVER
    );
    assert!(!supervisor.is_reloading());
}

#[test]
fn a_worker_that_is_dead_takes_no_connections_and_one_that_says_nothing_is_not_waited_for() {
    let mut supervisor = serving(policy(2));
    let _actions = reload(&mut supervisor, at(10), policy(2));
    let _actions = supervisor.handle(at(11), Event::Ready(id(3)));
    let _actions = supervisor.handle(at(12), Event::Ready(id(4)));
    assert_eq!(supervisor.handle(at_ms(12_500), died(1)), []);
    assert_eq!(supervisor.next_deadline(), Some(at(13)));
    assert_eq!(supervisor.handle(at(13), Event::DeadlinePassed), TAKEN_OVER);
}

#[test]
fn a_stop_while_a_generation_takes_over_is_told_to_whoever_waits_for_that() {
    let mut supervisor = serving(policy(1));
    let _actions = reload(&mut supervisor, at(5), policy(1));
    let _actions = supervisor.handle(at(6), Event::Ready(id(2)));
    let actions = supervisor.handle(at(6), Event::StopRequested(StopManner::Graceful));
    assert_told_of_the_stop(&actions);
}

#[test]
fn a_reload_whose_worker_cannot_boot_leaves_the_old_generation_alone() {
    let mut supervisor = serving(policy(2));
    let _actions = reload(&mut supervisor, at(10), policy(2));
    let _actions = supervisor.handle(at(11), Event::Ready(id(3)));
    let actions = supervisor.handle(at(12), Event::BootFailed(id(4), "no database".to_owned()));
    let reason = "worker 4 could not boot: no database".to_owned();
    assert_eq!(
        actions,
        [
            Action::RollBack(Generation(2), reason.clone()),
            Action::Answer(Caller(1), Err(reason)),
            Action::Drain {
                worker: id(3),
                queue_has_heir: true
            },
        ]
    );
    assert_eq!(supervisor.serving(), Some(Generation(1)));
}

#[test]
fn a_reload_whose_worker_dies_after_it_was_ready_is_rolled_back() {
    let mut supervisor = serving(policy(2));
    let _actions = reload(&mut supervisor, at(10), policy(2));
    let _actions = supervisor.handle(at(11), Event::Ready(id(3)));
    let actions = supervisor.handle(at(12), died(3));
    assert!(
        matches!(actions.first(), Some(Action::RollBack(Generation(2), _))),
        "{actions:?}"
    );
    assert!(drained(&actions).is_empty(), "{actions:?}");
}

#[test]
fn a_crash_during_a_reload_brings_back_the_generation_that_serves() {
    let mut supervisor = serving(policy(1));
    let _actions = reload(&mut supervisor, at(10), policy(1));
    assert_eq!(spawned(&supervisor.handle(at(11), died(1))), [(3, 0, 1)]);
}

#[test]
fn a_configuration_that_is_refused_starts_nothing_and_tells_why() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(10), Event::ReloadRequested(Some(Caller(1))));
    let actions = supervisor.handle(at(10), Event::Refused("unknown key".to_owned()));
    assert_eq!(
        actions,
        [Action::Answer(Caller(1), Err("unknown key".to_owned()))]
    );
}

#[test]
fn a_second_reload_waits_for_the_first_and_reads_the_file_then() {
    let mut supervisor = serving(policy(1));
    let _actions = reload(&mut supervisor, at(10), policy(1));
    assert_eq!(
        supervisor.handle(at(10), Event::ReloadRequested(Some(Caller(2)))),
        []
    );
    let actions = supervisor.handle(at(11), Event::Ready(id(2)));
    assert!(!actions.contains(&Action::Prepare), "{actions:?}");
    let actions = supervisor.handle(at(11), Event::StoppedAccepting(id(1)));
    assert!(actions.contains(&Action::Prepare), "{actions:?}");
    let actions = supervisor.handle(at(11), Event::Prepared(policy(1)));
    assert_eq!(spawned(&actions), [(3, 0, 3)]);
    let _actions = supervisor.handle(at(12), Event::Ready(id(3)));
    let actions = supervisor.handle(at(12), Event::StoppedAccepting(id(2)));
    assert!(
        actions.contains(&Action::Answer(
            Caller(2),
            Ok(Done::Reloaded(Generation(3)))
        )),
        "{actions:?}"
    );
}

#[test]
fn a_reload_to_fewer_workers_lets_the_leaving_ones_empty_their_queues() {
    let mut supervisor = serving(policy(2));
    let _actions = reload(&mut supervisor, at(10), policy(1));
    let actions = supervisor.handle(at(11), Event::Ready(id(3)));
    assert!(
        actions.contains(&Action::Drain {
            worker: id(1),
            queue_has_heir: true
        }),
        "{actions:?}"
    );
    assert!(
        actions.contains(&Action::Drain {
            worker: id(2),
            queue_has_heir: false
        }),
        "{actions:?}"
    );
}

#[test]
fn a_rolling_reload_replaces_one_slot_after_the_other() {
    let mut supervisor = serving(policy(3));
    assert_eq!(
        spawned(&reload(&mut supervisor, at(10), rolling(3, 1, 0))),
        [(4, 0, 2)]
    );
    for (ready, old, next) in [
        (4, 1, vec![(5, 1, 2)]),
        (5, 2, vec![(6, 2, 2)]),
        (6, 3, vec![]),
    ] {
        let actions = supervisor.handle(at(11), Event::Ready(id(ready)));
        assert_eq!(
            (accepted(&actions), drained(&actions)),
            (vec![ready], vec![old])
        );
        assert_eq!(spawned(&actions), next);
    }
    assert_eq!(supervisor.serving(), Some(Generation(2)));
}

#[test]
fn the_canary_of_a_rolling_reload_goes_alone() {
    let mut supervisor = serving(policy(4));
    assert_eq!(
        spawned(&reload(&mut supervisor, at(10), rolling(4, 3, 0))).len(),
        1
    );
    let actions = supervisor.handle(at(11), Event::Ready(id(5)));
    assert_eq!(spawned(&actions).len(), 3);
}

#[test]
fn a_rolling_reload_without_surge_stops_the_old_worker_first() {
    let mut supervisor = serving(policy(2));
    let actions = reload(&mut supervisor, at(10), rolling(2, 0, 1));
    assert_eq!(
        (spawned(&actions), drained(&actions)),
        (vec![(3, 0, 2)], vec![1])
    );
    let actions = supervisor.handle(at(11), Event::Ready(id(3)));
    assert_eq!(
        (spawned(&actions), drained(&actions)),
        (vec![(4, 1, 2)], vec![2])
    );
}

#[test]
fn a_rolling_reload_that_fails_half_way_brings_the_old_generation_back_before_the_new_one_leaves() {
    let mut supervisor = serving(policy(2));
    let _actions = reload(&mut supervisor, at(10), rolling(2, 1, 0));
    let _actions = supervisor.handle(at(11), Event::Ready(id(3)));
    let actions = supervisor.handle(at(12), Event::BootFailed(id(4), "no database".to_owned()));
    assert_eq!(
        (spawned(&actions), drained(&actions)),
        (vec![(5, 0, 1)], vec![])
    );
    let actions = supervisor.handle(at(13), Event::Ready(id(5)));
    assert_eq!((accepted(&actions), drained(&actions)), (vec![5], vec![3]));
}

#[test]
fn a_rolling_reload_without_surge_can_mend_a_generation_that_keeps_crashing() {
    let mut supervisor = serving(policy(1));
    for worker in 1..6 {
        let _actions = supervisor.handle(at(5), died(worker));
        let _actions = supervisor.handle(at(5), Event::DeadlinePassed);
    }
    assert_eq!(
        spawned(&reload(&mut supervisor, at(5), rolling(1, 0, 1))).len(),
        1
    );
}

#[test]
fn scaling_up_answers_when_the_new_workers_serve() {
    let mut supervisor = serving(policy(1));
    let actions = supervisor.handle(at(5), Event::ScaleRequested(Scale::To(2), Some(Caller(1))));
    assert_eq!(
        actions,
        [Action::Spawn {
            worker: id(2),
            slot: Slot(1),
            generation: Generation(1)
        }]
    );
    let actions = supervisor.handle(at(6), Event::Ready(id(2)));
    assert_eq!(
        actions,
        [
            Action::Accept(id(2)),
            Action::Answer(Caller(1), Ok(Done::Scaled(2)))
        ]
    );
}

#[test]
fn scaling_down_drains_the_last_slot_but_never_the_last_worker() {
    let mut supervisor = serving(policy(2));
    let actions = supervisor.handle(at(5), Event::ScaleRequested(Scale::Down, None));
    assert_eq!(
        actions,
        [Action::Drain {
            worker: id(2),
            queue_has_heir: false
        }]
    );
    assert_eq!(
        supervisor.handle(at(5), Event::ScaleRequested(Scale::Down, None)),
        []
    );
}

#[test]
fn a_pause_drains_everyone_and_a_reload_brings_them_back() {
    let mut supervisor = serving(policy(1));
    let actions = supervisor.handle(at(5), Event::PauseRequested);
    assert_eq!(
        actions,
        [Action::Drain {
            worker: id(1),
            queue_has_heir: true
        }]
    );
    assert_eq!(supervisor.handle(at(6), died(1)), []);
    let _actions = reload(&mut supervisor, at(7), policy(1));
    assert_eq!(
        accepted(&supervisor.handle(at(8), Event::Ready(id(2)))),
        [2]
    );
}

#[test]
fn in_a_pause_connections_wait_in_the_slot_that_whoever_comes_back_fills() {
    let mut supervisor = serving(policy(2));
    let actions = supervisor.handle(at(5), Event::PauseRequested);
    let drain = |worker, queue_has_heir| Action::Drain {
        worker: id(worker),
        queue_has_heir,
    };
    assert_eq!(actions, [drain(1, true), drain(2, false)]);
    assert_eq!(supervisor.slots_kept(), 1);
    let actions = supervisor.handle(at(6), Event::ScaleRequested(Scale::Up, None));
    assert_eq!(
        actions,
        [Action::Spawn {
            worker: id(3),
            slot: Slot::KEPT_IN_PAUSE,
            generation: Generation(1)
        }]
    );
}

#[test]
fn a_stop_drains_everyone_and_ends_when_the_last_has_gone() {
    let mut supervisor = serving(policy(2));
    let actions = supervisor.handle(at(5), Event::StopRequested(StopManner::Graceful));
    assert_eq!(drained(&actions), [1, 2]);
    let _actions = supervisor.handle(at(6), died(1));
    assert_eq!(
        supervisor.handle(at(7), died(2)).last(),
        Some(&Action::Exit(ExitReason::Stopped))
    );
}

#[test]
fn a_stop_kills_whoever_is_left_when_the_graceful_timeout_is_over() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), Event::StopRequested(StopManner::Graceful));
    assert_eq!(supervisor.next_deadline(), Some(at(25)));
    let actions = supervisor.handle(at(25), Event::DeadlinePassed);
    assert_eq!(actions, [Action::Kill(id(1), KillReason::Stop)]);
}

#[test]
fn a_stop_does_not_wait_for_a_process_that_the_kernel_cannot_end() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), Event::StopRequested(StopManner::Graceful));
    let _actions = supervisor.handle(at(25), Event::DeadlinePassed);
    let actions = supervisor.handle(at_ms(25_500), Event::DeadlinePassed);
    assert_eq!(actions, [Action::Exit(ExitReason::Stopped)]);
}

#[test]
fn a_stop_during_boot_kills_the_workers_that_boot() {
    let mut supervisor = Supervisor::new(policy(1), 7);
    let _actions = supervisor.handle(at(0), Event::DeadlinePassed);
    let actions = supervisor.handle(at(1), Event::StopRequested(StopManner::Graceful));
    assert_eq!(actions, [Action::Kill(id(1), KillReason::Unwanted)]);
    assert_eq!(
        supervisor.handle(at(1), died(1)).last(),
        Some(&Action::Exit(ExitReason::Stopped))
    );
}

#[test]
fn a_stop_during_a_reload_gives_the_reload_up_and_says_so() {
    let mut supervisor = serving(policy(1));
    let _actions = reload(&mut supervisor, at(5), policy(1));
    let actions = supervisor.handle(at(6), Event::StopRequested(StopManner::Graceful));
    assert_told_of_the_stop(&actions);
    assert!(
        actions.contains(&Action::Kill(id(2), KillReason::Unwanted)),
        "{actions:?}"
    );
}

fn delayed(workers: u16) -> Policy {
    Policy {
        drain_delay: at(5),
        ..policy(workers)
    }
}

const REFUSED: &str = "the master is stopping";

#[test]
fn a_stop_has_a_delay_in_which_everything_goes_on() {
    let mut supervisor = serving(delayed(2));
    let stop = || Event::StopRequested(StopManner::Graceful);
    assert_eq!(supervisor.handle(at(10), stop()), []);
    assert_eq!(supervisor.next_deadline(), Some(at(15)));
    // systemd and Kubernetes may say it twice.
    assert_eq!(supervisor.handle(at(12), stop()), []);
    assert_eq!(spawned(&supervisor.handle(at(12), died(2))), [(3, 1, 1)]);
    assert_eq!(
        accepted(&supervisor.handle(at(13), Event::Ready(id(3)))),
        [3]
    );
    let actions = supervisor.handle(at(15), Event::DeadlinePassed);
    assert_eq!(drained(&actions), [1, 3]);
    assert_eq!(spawned(&supervisor.handle(at(16), died(3))), []);
    assert_eq!(supervisor.next_deadline(), Some(at(35)));
}

#[test]
fn what_is_asked_for_in_the_delay_of_a_stop_is_refused() {
    let mut supervisor = serving(delayed(2));
    let _actions = supervisor.handle(at(10), Event::StopRequested(StopManner::Graceful));
    let refused = [Action::Answer(Caller(1), Err(REFUSED.to_owned()))];
    let reload = Event::ReloadRequested(Some(Caller(1)));
    assert_eq!(supervisor.handle(at(11), reload), refused);
    let scale = Event::ScaleRequested(Scale::To(1), Some(Caller(1)));
    assert_eq!(supervisor.handle(at(11), scale), refused);
    let nothing: [Action; 0] = [];
    for event in [Event::ReloadRequested(None), Event::PauseRequested] {
        assert_eq!(supervisor.handle(at(12), event), nothing);
    }
    assert_eq!(supervisor.wanted(), 2);
}

#[test]
fn a_stop_with_a_delay_gives_a_reload_up_and_leaves_no_slot_unserved() {
    let mut supervisor = serving(delayed(2));
    let _actions = reload(&mut supervisor, at(10), rolling(2, 1, 0));
    let _actions = supervisor.handle(at(11), Event::Ready(id(3)));
    let actions = supervisor.handle(at(12), Event::StopRequested(StopManner::Graceful));
    assert_eq!(
        actions,
        [
            Action::Answer(Caller(1), Err(REFUSED.to_owned())),
            Action::Kill(id(4), KillReason::Unwanted),
            Action::Spawn {
                worker: id(5),
                slot: Slot(0),
                generation: Generation(1)
            },
        ]
    );
    let actions = supervisor.handle(at(13), Event::Ready(id(5)));
    assert_eq!((accepted(&actions), drained(&actions)), (vec![5], vec![3]));
    let actions = supervisor.handle(at(17), Event::DeadlinePassed);
    assert_eq!(drained(&actions), [2, 5]);
}

#[test]
fn where_nobody_serves_a_stop_has_no_delay() {
    let mut booting = Supervisor::new(delayed(1), 7);
    let _actions = booting.handle(at(0), Event::DeadlinePassed);
    let actions = booting.handle(at(1), Event::StopRequested(StopManner::Graceful));
    assert_eq!(actions, [Action::Kill(id(1), KillReason::Unwanted)]);
    let mut paused = serving(delayed(1));
    let _actions = paused.handle(at(5), Event::PauseRequested);
    let _actions = paused.handle(at(6), died(1));
    let actions = paused.handle(at(7), Event::StopRequested(StopManner::Graceful));
    assert_eq!(actions.last(), Some(&Action::Exit(ExitReason::Stopped)));
}

#[test]
fn a_fast_stop_cuts_the_delay_of_a_graceful_one() {
    let mut supervisor = serving(delayed(1));
    let _actions = supervisor.handle(at(10), Event::StopRequested(StopManner::Graceful));
    let actions = supervisor.handle(at(11), Event::StopRequested(StopManner::Fast));
    assert_eq!(actions, [Action::Quit(id(1))]);
    assert_eq!(supervisor.next_deadline(), Some(at(12)));
}

#[test]
fn a_master_without_workers_does_not_end_before_the_delay_of_its_stop() {
    let mut supervisor = serving(delayed(1));
    for (time, worker) in [(5, 1), (5, 2)] {
        let _actions = supervisor.handle(at(time), died(worker));
    }
    assert_eq!(supervisor.workers().count(), 0, "it waits for the back-off");
    let actions = supervisor.handle(at(5), Event::StopRequested(StopManner::Graceful));
    assert_eq!(actions, []);
    assert_eq!(
        spawned(&supervisor.handle(at(6), Event::DeadlinePassed)),
        [(3, 0, 1)]
    );
}

#[test]
fn a_fast_stop_takes_a_second_and_a_second_one_no_time() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), Event::StopRequested(StopManner::Graceful));
    assert_eq!(
        supervisor.handle(at(6), Event::StopRequested(StopManner::Fast)),
        [Action::Quit(id(1))]
    );
    assert_eq!(supervisor.next_deadline(), Some(at(7)));
    let actions = supervisor.handle(at_ms(6_100), Event::StopRequested(StopManner::Fast));
    assert_eq!(actions, [Action::Kill(id(1), KillReason::Stop)]);
}

#[test]
fn a_worker_that_says_it_is_ready_after_it_was_told_to_go_stays_told_to_go() {
    let mut supervisor = serving(policy(2));
    let _actions = supervisor.handle(at(5), Event::ScaleRequested(Scale::To(1), None));
    assert_eq!(supervisor.handle(at(6), Event::Ready(id(2))), []);
    let state = supervisor.workers().last().map(|worker| worker.state);
    assert!(matches!(state, Some(State::Draining { .. })), "{state:?}");
}

#[test]
fn a_generation_is_forgotten_when_its_last_worker_has_gone() {
    let mut supervisor = serving(policy(1));
    let _actions = reload(&mut supervisor, at(5), policy(1));
    let _actions = supervisor.handle(at(6), Event::Ready(id(2)));
    let _actions = supervisor.handle(at(6), Event::StoppedAccepting(id(1)));
    assert_eq!(
        supervisor.handle(at(7), died(1)),
        [Action::Forget(Generation(1))]
    );
}

#[test]
fn a_worker_that_shall_be_replaced_serves_until_its_replacement_does() {
    let mut supervisor = serving(policy(2));
    let actions = supervisor.handle(at(5), Event::ReplacementWanted(id(1)));
    assert_eq!(spawned(&actions), [(3, 0, 1)]);
    assert_eq!(drained(&actions), [0; 0]);
    let actions = supervisor.handle(at(6), Event::Ready(id(3)));
    assert_eq!(
        actions,
        [
            Action::Accept(id(3)),
            Action::Drain {
                worker: id(1),
                queue_has_heir: true
            }
        ]
    );
}

#[test]
fn replacements_go_one_by_one() {
    let mut supervisor = serving(policy(3));
    let mut actions = Vec::new();
    for worker in 1..=3 {
        actions.extend(supervisor.handle(at(5), Event::ReplacementWanted(id(worker))));
    }
    assert_eq!(spawned(&actions), [(4, 0, 1)]);
    let actions = supervisor.handle(at(6), Event::Ready(id(4)));
    assert_eq!(drained(&actions), [1]);
    assert_eq!(spawned(&actions), [(5, 1, 1)]);
    let actions = supervisor.handle(at(7), Event::Ready(id(5)));
    assert_eq!(
        (drained(&actions), spawned(&actions)),
        (vec![2], vec![(6, 2, 1)])
    );
}

#[test]
fn a_replacement_that_cannot_boot_is_tried_again_and_the_old_worker_serves_on() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), Event::ReplacementWanted(id(1)));
    let _actions = supervisor.handle(at(6), Event::BootFailed(id(2), "no database".to_owned()));
    let actions = supervisor.handle(at(6), Event::Exited(id(2), "exit code 3".to_owned()));
    assert_eq!((drained(&actions), spawned(&actions)), (vec![], vec![]));
    let next = supervisor.next_deadline().expect("another attempt");
    let actions = supervisor.handle(next, Event::DeadlinePassed);
    assert_eq!(spawned(&actions), [(3, 0, 1)]);
}

#[test]
fn a_worker_that_has_lived_long_enough_is_replaced() {
    let lifetime = Lifetime {
        at_least: at(100),
        jitter_max: at(16),
    };
    let mut supervisor = serving(Policy {
        lifetime: Some(lifetime),
        ..policy(1)
    });
    let due = supervisor.next_deadline().expect("an end");
    assert!((at(101)..=at(117)).contains(&due), "{due:?}");
    let actions = supervisor.handle(due, Event::DeadlinePassed);
    assert_eq!(actions.first(), Some(&Action::Outlived(id(1))));
    assert_eq!(spawned(&actions), [(2, 0, 1)]);
    let actions = supervisor.handle(due + at(1), Event::Ready(id(2)));
    assert_eq!(drained(&actions), [1]);
}

#[test]
fn a_worker_that_does_not_serve_cannot_ask_to_be_replaced() {
    let mut supervisor = Supervisor::new(policy(1), 7);
    let _actions = supervisor.handle(at(0), Event::DeadlinePassed);
    assert_eq!(
        supervisor.handle(at(1), Event::ReplacementWanted(id(1))),
        []
    );
    assert_eq!(
        supervisor.handle(at(1), Event::ReplacementWanted(id(99))),
        []
    );
}

#[test]
fn a_reload_takes_over_from_workers_that_were_to_be_replaced() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), Event::ReplacementWanted(id(1)));
    let actions = reload(&mut supervisor, at(6), policy(1));
    assert_eq!(spawned(&actions), [(3, 0, 2)]);
    let actions = supervisor.handle(at(7), Event::Ready(id(3)));
    assert_eq!(drained(&actions), [1]);
    assert!(actions.contains(&Action::Kill(id(2), KillReason::Unwanted)));
}

#[test]
fn a_worker_that_hangs_is_aborted_and_replaced_at_once_and_killed_a_second_later() {
    let mut supervisor = serving(policy(2));
    let actions = supervisor.handle(at(100), Event::Hung(id(1)));
    assert_eq!(actions[0], Action::Abort(id(1)));
    // Nobody waits for it to die, nor for its replacement before it goes.
    assert_eq!(spawned(&actions), [(3, 0, 1)]);
    assert_eq!(supervisor.handle(at(100), Event::Hung(id(1))), []);
    assert_eq!(supervisor.next_deadline(), Some(at(101)));
    assert_eq!(
        supervisor.handle(at(101), Event::DeadlinePassed),
        [Action::Kill(id(1), KillReason::Hung)]
    );
    assert_eq!(supervisor.handle(at(102), died(1)), []);
    assert_eq!(
        accepted(&supervisor.handle(at(102), Event::Ready(id(3)))),
        [3]
    );
}

#[test]
fn a_worker_that_dies_of_sigabrt_is_not_killed() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(100), Event::Hung(id(1)));
    assert_eq!(supervisor.handle(at_ms(100_050), died(1)), []);
    let _actions = supervisor.handle(at(101), Event::Ready(id(2)));
    assert_eq!(supervisor.next_deadline(), None);
}

#[test]
fn hanging_counts_as_one_crash() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(2), Event::Hung(id(1)));
    let _actions = supervisor.handle(at(2), died(1));
    let _actions = supervisor.handle(at(2), Event::Ready(id(2)));
    assert!(!supervisor.is_degraded());
    let actions = supervisor.handle(at(3), Event::Hung(id(2)));
    assert!(actions.contains(&Action::Degraded {
        failures: 2,
        reason: "its event loop hung".to_owned()
    }));
    // The second in a row waits.
    assert_eq!(spawned(&actions), []);
    let _actions = supervisor.handle(at(3), died(2));
    let next = supervisor.next_deadline().unwrap();
    assert!(next > at(3), "{next:?}");
    assert_eq!(
        spawned(&supervisor.handle(next, Event::DeadlinePassed)),
        [(3, 0, 1)]
    );
}

#[test]
fn a_worker_that_hangs_while_it_drains_is_aborted_and_not_replaced() {
    let mut supervisor = serving(policy(2));
    let _actions = supervisor.handle(at(100), Event::ScaleRequested(Scale::To(1), None));
    assert_eq!(
        supervisor.handle(at(101), Event::Hung(id(2))),
        [Action::Abort(id(2))]
    );
    assert_eq!(supervisor.next_deadline(), Some(at(102)));
    assert!(!supervisor.is_degraded());
}

#[test]
fn one_that_boots_or_cannot_is_not_aborted() {
    let mut supervisor = Supervisor::new(policy(2), 7);
    let _actions = supervisor.handle(at(0), Event::DeadlinePassed);
    assert_eq!(supervisor.handle(at(1), Event::Hung(id(1))), []);
    let _actions = supervisor.handle(at(1), Event::BootFailed(id(1), "no".to_owned()));
    assert_eq!(supervisor.handle(at(1), Event::Hung(id(1))), []);
    assert_eq!(supervisor.handle(at(1), Event::Hung(id(9))), []);
}

#[test]
fn a_candidate_whose_worker_hangs_is_rolled_back() {
    let mut supervisor = serving(policy(2));
    let _actions = reload(&mut supervisor, at(100), policy(2));
    let _actions = supervisor.handle(at(101), Event::Ready(id(3)));
    let actions = supervisor.handle(at(102), Event::Hung(id(3)));
    let reason = "worker 3 died before the reload was complete: its event loop hung";
    assert!(actions.contains(&Action::Abort(id(3))));
    assert!(actions.contains(&Action::RollBack(Generation(2), reason.to_owned())));
    assert_eq!(spawned(&actions), []);
}

#[test]
fn a_stop_ends_one_that_hangs_in_its_own_time() {
    let mut supervisor = serving(Policy {
        graceful_timeout: at_ms(300),
        ..policy(1)
    });
    let _actions = supervisor.handle(at(100), Event::Hung(id(1)));
    let _actions = supervisor.handle(at(100), Event::StopRequested(StopManner::Graceful));
    assert_eq!(supervisor.next_deadline(), Some(at_ms(100_300)));
    let actions = supervisor.handle(at_ms(100_300), Event::DeadlinePassed);
    assert!(
        actions.contains(&Action::Kill(id(1), KillReason::Stop)),
        "{actions:?}"
    );
}

#[test]
fn one_that_hangs_during_a_stop_is_aborted() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(100), Event::StopRequested(StopManner::Graceful));
    assert_eq!(
        supervisor.handle(at(103), Event::Hung(id(1))),
        [Action::Abort(id(1))]
    );
    let actions = supervisor.handle(at(104), died(1));
    assert_eq!(actions, [Action::Exit(ExitReason::Stopped)]);
}

#[test]
fn one_that_hangs_while_its_replacement_boots_leaves_the_slot_to_it() {
    let mut supervisor = serving(policy(1));
    assert_eq!(
        spawned(&supervisor.handle(at(100), Event::ReplacementWanted(id(1)))),
        [(2, 0, 1)]
    );
    assert_eq!(
        supervisor.handle(at(101), Event::Hung(id(1))),
        [Action::Abort(id(1))]
    );
    assert_eq!(
        accepted(&supervisor.handle(at(102), Event::Ready(id(2)))),
        [2]
    );
}

#[test]
fn a_rolling_reload_whose_canary_is_scaled_away_goes_on_with_another_one() {
    let mut supervisor = serving(policy(2));
    let _actions = supervisor.handle(at(50), died(2));
    let actions = reload(&mut supervisor, at(50), rolling(2, 1, 0));
    assert_eq!(spawned(&actions), [(4, 1, 2)]);
    let actions = supervisor.handle(at(51), Event::ScaleRequested(Scale::To(1), None));
    assert_eq!(spawned(&actions), [(5, 0, 2)]);
    let actions = supervisor.handle(at(52), Event::Ready(id(5)));
    assert!(
        actions.contains(&Action::Commit(Generation(2))),
        "{actions:?}"
    );
}

fn upgrade(caller: u64, program: Option<&str>) -> Event {
    Event::UpgradeRequested {
        caller: Some(Caller(caller)),
        program: program.map(Into::into),
    }
}

/// As another program goes on: with what can be written down, and nothing else.
fn handed_over(supervisor: &Supervisor) -> Supervisor {
    let written = serde_json::to_string(supervisor).expect("can be written");
    serde_json::from_str(&written).expect("can be read")
}

#[test]
fn an_upgrade_asks_the_program_first_and_is_complete_when_its_workers_serve() {
    let mut supervisor = serving(policy(1));
    let actions = supervisor.handle(at(5), upgrade(1, Some("/opt/new")));
    assert_eq!(actions, [Action::Preflight(Some("/opt/new".into()))]);
    // The server lives on while the program thinks.
    let actions = supervisor.handle(at(6), died(1));
    assert_eq!(spawned(&actions), [(2, 0, 1)]);
    let mut supervisor = handed_over(&supervisor);
    assert_eq!(supervisor.handle(at(7), Event::Upgraded), [Action::Prepare]);
    let actions = supervisor.handle(at(7), Event::Prepared(policy(1)));
    assert_eq!(spawned(&actions), [(3, 0, 2)]);
    let _actions = supervisor.handle(at(8), Event::Ready(id(2)));
    let actions = supervisor.handle(at(8), Event::Ready(id(3)));
    assert_eq!(drained(&actions), [2]);
    let actions = supervisor.handle(at(8), Event::StoppedAccepting(id(2)));
    let answer = Action::AnswerUpgrade(Caller(1), Ok(Generation(2)));
    assert!(actions.contains(&answer), "{actions:?}");
}

#[test]
fn an_upgrade_that_fails_changes_nothing_and_is_told() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), upgrade(1, None));
    let reason = "it crashed".to_owned();
    assert_eq!(
        supervisor.handle(at(6), Event::UpgradeFailed(reason.clone())),
        [Action::Answer(Caller(1), Err(reason))]
    );
    assert!(!supervisor.awaits_preflight());
}

#[test]
fn an_upgrade_whose_workers_cannot_boot_keeps_the_old_ones_and_says_so() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), upgrade(1, None));
    let mut supervisor = handed_over(&supervisor);
    let _actions = supervisor.handle(at(6), Event::Upgraded);
    let _actions = supervisor.handle(at(6), Event::Prepared(policy(1)));
    let actions = supervisor.handle(at(7), Event::BootFailed(id(2), "no database".to_owned()));
    let told = |action: &Action| matches!(action, Action::AnswerUpgrade(Caller(1), Err(reason)) if reason.contains("no database"));
    assert!(actions.iter().any(told), "{actions:?}");
    assert_eq!(drained(&actions), [0; 0]);
    assert_eq!(supervisor.serving(), Some(Generation(1)));
}

#[test]
fn an_upgrade_waits_for_a_reload_and_a_reload_for_an_upgrade_which_answers_both() {
    let mut supervisor = serving(policy(1));
    let _actions = reload(&mut supervisor, at(5), policy(1));
    assert_eq!(supervisor.handle(at(6), upgrade(2, None)), []);
    let _actions = supervisor.handle(at(7), Event::Ready(id(2)));
    let actions = supervisor.handle(at(7), Event::StoppedAccepting(id(1)));
    assert!(actions.contains(&Action::Preflight(None)), "{actions:?}");
    let event = Event::ReloadRequested(Some(Caller(3)));
    assert_eq!(supervisor.handle(at(8), event), []);
    let mut supervisor = handed_over(&supervisor);
    assert_eq!(supervisor.handle(at(9), Event::Upgraded), [Action::Prepare]);
    let actions = supervisor.handle(at(9), Event::Refused("unknown key".to_owned()));
    let reason = || "unknown key".to_owned();
    assert_eq!(
        actions,
        [
            Action::Answer(Caller(3), Err(reason())),
            Action::AnswerUpgrade(Caller(2), Err(reason()))
        ]
    );
}

#[test]
fn a_second_upgrade_shares_the_first_or_is_refused() {
    let mut supervisor = serving(policy(1));
    let _actions = reload(&mut supervisor, at(5), policy(1));
    let _actions = supervisor.handle(at(6), upgrade(2, None));
    assert_eq!(supervisor.handle(at(6), upgrade(3, None)), []);
    let refused = supervisor.handle(at(6), upgrade(4, Some("/opt/new")));
    assert!(matches!(
        refused.as_slice(),
        [Action::Answer(Caller(4), Err(_))]
    ));
    let _actions = supervisor.handle(at(7), Event::Ready(id(2)));
    let _actions = supervisor.handle(at(7), Event::StoppedAccepting(id(1)));
    let refused = supervisor.handle(at(8), upgrade(5, None));
    assert!(matches!(
        refused.as_slice(),
        [Action::Answer(Caller(5), Err(_))]
    ));
    let actions = supervisor.handle(at(9), Event::UpgradeFailed("it crashed".to_owned()));
    assert_eq!(actions.len(), 2, "callers 2 and 3: {actions:?}");
}

#[test]
fn a_stop_gives_an_upgrade_up() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(5), upgrade(1, None));
    let actions = supervisor.handle(at(6), Event::StopRequested(StopManner::Graceful));
    assert!(actions.contains(&Action::CancelPreflight), "{actions:?}");
    let reason = "the master is stopping".to_owned();
    assert!(actions.contains(&Action::Answer(Caller(1), Err(reason))));
    assert!(!supervisor.awaits_preflight());
}

fn probe_failed(worker: u64) -> Event {
    Event::ProbeFailed(id(worker), "its probe: 503".to_owned())
}

#[test]
fn a_worker_whose_probe_fails_serves_until_its_replacement_does() {
    let mut supervisor = serving(policy(2));
    let actions = supervisor.handle(at(5), probe_failed(1));
    assert_eq!(
        (spawned(&actions), drained(&actions)),
        (vec![(3, 0, 1)], vec![])
    );
    assert_eq!(supervisor.handle(at(5), probe_failed(1)), []);
    let actions = supervisor.handle(at(6), Event::Ready(id(3)));
    assert_eq!((accepted(&actions), drained(&actions)), (vec![3], vec![1]));
}

#[test]
fn when_the_probes_of_all_workers_fail_one_after_the_other_is_replaced() {
    let mut supervisor = serving(policy(3));
    let mut actions = Vec::new();
    for worker in 1..=3 {
        actions.extend(supervisor.handle(at(5), probe_failed(worker)));
    }
    assert_eq!(spawned(&actions), [(4, 0, 1)]);
    // What all need is down, so the replacement does not pass either.
    let failed = Event::BootFailed(id(4), "its probe: 503".to_owned());
    let actions = supervisor.handle(at(6), failed);
    assert_eq!((spawned(&actions), drained(&actions)), (vec![], vec![]));
    let actions = supervisor.handle(at(6), Event::Exited(id(4), "exit code 3".to_owned()));
    assert_eq!((spawned(&actions), drained(&actions)), (vec![], vec![]));
    let mut attempts = 0;
    for worker in 5.. {
        let next = supervisor.next_deadline().expect("another attempt");
        if next > at(65) {
            break;
        }
        let actions = supervisor.handle(next, Event::DeadlinePassed);
        assert_eq!(spawned(&actions), [(worker, 0, 1)]);
        assert_eq!(drained(&actions), [0; 0]);
        attempts += 1;
        for event in [
            Event::BootFailed(id(worker), "its probe: 503".to_owned()),
            Event::Exited(id(worker), "exit code 3".to_owned()),
        ] {
            let actions = supervisor.handle(next, event);
            assert_eq!((spawned(&actions), drained(&actions)), (vec![], vec![]));
        }
    }
    assert!((1..=10).contains(&attempts), "{attempts} attempts a minute");
    assert!(supervisor.is_degraded());
}

#[test]
fn a_worker_that_is_well_again_stays_and_its_replacement_goes() {
    let mut supervisor = serving(policy(2));
    let actions = supervisor.handle(at(5), probe_failed(1));
    assert_eq!(spawned(&actions), [(3, 0, 1)]);
    let actions = supervisor.handle(at(6), Event::ProbePassed(id(1)));
    assert_eq!(actions, [Action::Kill(id(3), KillReason::Unwanted)]);
    assert_eq!(supervisor.handle(at(6), died(3)), []);
    assert_eq!(supervisor.workers().count(), 2);
}

#[test]
fn degraded_is_over_when_workers_were_well_again_for_long_enough() {
    let mut supervisor = serving(policy(1));
    let _actions = supervisor.handle(at(100), probe_failed(1));
    for worker in [2, 3] {
        for event in [
            Event::BootFailed(id(worker), "its probe: 503".to_owned()),
            Event::Exited(id(worker), "exit code 3".to_owned()),
        ] {
            let _actions = supervisor.handle(at(101), event);
        }
        let next = supervisor.next_deadline().expect("another attempt");
        let _actions = supervisor.handle(next, Event::DeadlinePassed);
    }
    assert!(supervisor.is_degraded());
    let actions = supervisor.handle(at(110), Event::ProbePassed(id(1)));
    assert!(!actions.contains(&Action::Recovered), "{actions:?}");
    let _actions = supervisor.handle(at(110), died(4));
    assert_eq!(supervisor.next_deadline(), Some(at(170)));
    let actions = supervisor.handle(at(170), Event::DeadlinePassed);
    assert_eq!(actions, [Action::Recovered]);
}

#[test]
fn a_worker_of_a_rolling_reload_whose_probe_fails_ends_the_reload() {
    let mut supervisor = serving(policy(2));
    let actions = reload(&mut supervisor, at(5), rolling(2, 1, 0));
    assert_eq!(spawned(&actions), [(3, 0, 2)]);
    let _actions = supervisor.handle(at(6), Event::Ready(id(3)));
    let actions = supervisor.handle(at(7), probe_failed(3));
    let reason = "worker 3 failed its probe before the reload was complete: its probe: 503";
    let rolled_back = Action::RollBack(Generation(2), reason.to_owned());
    assert!(actions.contains(&rolled_back), "{actions:?}");
}

/// The first generation boots, of an application that is being written.
fn written() -> Supervisor {
    let policy = Policy {
        wants_stand_in: true,
        ..policy(1)
    };
    let mut supervisor = Supervisor::new(policy, 1);
    let _actions = supervisor.handle(at(0), Event::DeadlinePassed);
    supervisor
}

#[test]
fn what_is_being_written_and_fails_is_followed_by_what_shows_why_and_that_by_nothing() {
    let mut supervisor = written();
    let reason = "worker 1 could not boot: exit code 7";
    let actions = supervisor.handle(at(1), Event::Exited(id(1), "exit code 7".to_owned()));
    let stand_in = Action::PrepareStandIn(reason.to_owned());
    assert!(actions.contains(&stand_in), "{actions:?}");
    assert!(!supervisor.is_stopping());
    let actions = supervisor.handle(at(1), Event::Prepared(policy(1)));
    assert!(
        actions.iter().any(|action| matches!(
            action,
            Action::Spawn {
                generation: Generation(2),
                ..
            }
        )),
        "{actions:?}"
    );
    let actions = supervisor.handle(at(2), Event::Exited(id(2), "exit code 1".to_owned()));
    let ended = Action::Exit(ExitReason::BootFailed(
        "worker 2 could not boot: exit code 1".to_owned(),
    ));
    assert!(actions.contains(&ended), "{actions:?}");
}

#[test]
fn where_nothing_can_be_prepared_that_shows_why_a_first_boot_failed_the_master_ends() {
    let mut supervisor = written();
    let _actions = supervisor.handle(at(1), Event::Exited(id(1), "exit code 7".to_owned()));
    let actions = supervisor.handle(at(1), Event::Refused("unknown key".to_owned()));
    let ended = Action::Exit(ExitReason::BootFailed("unknown key".to_owned()));
    assert!(actions.contains(&ended), "{actions:?}");
}
