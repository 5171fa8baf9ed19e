//! The queue of a Python worker on its own: it needs no interpreter, but the extension that it is a part of cannot be linked for tests.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "what only the extension uses is here too"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../python/src/wsgi/queue.rs"]
mod queue;
#[path = "../python/src/wsgi/sharing.rs"]
mod sharing;

use std::future::Future as _;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use destrier::Overloaded;
use destrier::scoreboard::Scoreboard;
use destrier::sys::clock;
use queue::{Limits, Place, Pushed, Queue, Refused};

const LONG: Duration = Duration::from_hours(1);

fn queue_of(threads: usize, waiting: usize, wait: Duration) -> Queue<u32> {
    let limits = Limits { waiting, wait };
    Queue::new(threads, limits, Scoreboard::new().unwrap().writer(0))
}

fn push(queue: &Queue<u32>, job: u32) -> Result<(), Refused> {
    queue.push(job, false).map(drop)
}

fn pop(queue: &Queue<u32>, place: &mut Place) -> Option<u32> {
    queue.pop(place).map(|popped| popped.job)
}

#[test]
fn requests_are_taken_in_the_order_in_which_they_came_and_those_that_waited_say_so() {
    let queue = queue_of(1, 10, LONG);
    let mut place = queue.join();
    push(&queue, 1).unwrap();
    let first = queue.pop(&mut place).unwrap();
    assert_eq!((first.job, first.waited), (1, None));
    assert!(first.is_last);
    // The thread is in its call.
    push(&queue, 2).unwrap();
    push(&queue, 3).unwrap();
    let second = queue.pop(&mut place).unwrap();
    assert_eq!((second.job, second.is_last), (2, false));
    assert!(second.waited.is_some());
    assert_eq!(pop(&queue, &mut place), Some(3));
    assert_eq!(pop(&queue, &mut place), None);
    assert_eq!(queue.depth(), 0);
}

#[test]
fn as_many_wait_as_may_beyond_those_for_whom_a_thread_is_free() {
    let queue = queue_of(2, 3, LONG);
    let mut place = queue.join();
    let took = (0..10).take_while(|job| push(&queue, *job).is_ok()).count();
    assert_eq!(took, 3 + 2);
    let full = Refused::Overloaded(Overloaded::QueueFull);
    assert_eq!(push(&queue, 10), Err(full));
    // One is worked on, and a thread less is free.
    assert_eq!(pop(&queue, &mut place), Some(0));
    assert_eq!(push(&queue, 10), Err(full));
    assert_eq!(pop(&queue, &mut place), Some(1));
    assert_eq!(push(&queue, 10), Ok(()));
}

#[test]
fn who_waits_too_long_is_given_back_and_the_next_one_is_timed() {
    let at_once = queue_of(1, 10, Duration::ZERO);
    push(&at_once, 1).unwrap();
    push(&at_once, 2).unwrap();
    assert_eq!(at_once.expire(), (vec![1, 2], None));
    let later = queue_of(1, 10, LONG);
    let before = clock::monotonic();
    push(&later, 1).unwrap();
    let (expired, next) = later.expire();
    assert!(expired.is_empty() && next.unwrap() >= before + LONG);
}

#[test]
fn a_thread_that_sleeps_is_woken_for_a_request_and_by_the_end() {
    let queue = queue_of(1, 10, LONG);
    let (took, taken) = mpsc::channel();
    thread::scope(|scope| {
        let queue = &queue;
        scope.spawn(move || {
            let mut place = queue.join();
            while queue.wait(&mut place) {
                while let Some(job) = pop(queue, &mut place) {
                    took.send(job).unwrap();
                }
            }
        });
        for job in 0..100 {
            push(queue, job).unwrap();
            assert_eq!(taken.recv(), Ok(job));
        }
        queue.close();
    });
    assert_eq!(push(&queue, 0), Err(Refused::Closed));
    assert!(taken.recv().is_err());
}

#[test]
fn what_waits_when_the_queue_is_closed_is_still_taken() {
    let queue = queue_of(1, 10, LONG);
    let mut place = queue.join();
    push(&queue, 1).unwrap();
    queue.close();
    assert!(queue.wait(&mut place));
    assert_eq!(pop(&queue, &mut place), Some(1));
    assert!(!queue.wait(&mut place));
}

#[test]
fn a_thread_that_turns_the_event_loop_learns_of_a_request_and_of_the_end() {
    let queue = queue_of(1, 10, LONG);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut comes = pin!(queue.comes());
        assert!(comes.as_mut().poll(&mut context).is_pending());
        queue.push(1, true).unwrap();
        assert!(comes.as_mut().poll(&mut context).is_ready());
    }
    let mut place = queue.join();
    assert_eq!(pop(&queue, &mut place), Some(1));
    let mut comes = pin!(queue.comes());
    assert!(comes.as_mut().poll(&mut context).is_pending());
    queue.close();
    assert!(comes.as_mut().poll(&mut context).is_ready());
}

#[test]
fn when_the_event_loop_is_taken_back_somebody_looks_after_what_waits() {
    let queue = queue_of(2, 10, LONG);
    assert_eq!(queue.hand_over(), Pushed::default());
    let led = queue.push(1, true).unwrap();
    assert_eq!(led, Pushed::default());
    let both = Pushed {
        watch: true,
        time: true,
    };
    assert_eq!(queue.hand_over(), both);
    // Once.
    assert_eq!(queue.hand_over(), Pushed::default());
}
