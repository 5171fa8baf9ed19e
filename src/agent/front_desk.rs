//! Passes on to the master what monitoring asks, one question at a time, and its answer to all who wait.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::admin::{self, Asked, Opened, Question, Timeline};
use crate::channel::{FromAgent, OrderOutcome};

/// So long an agent that leaves waits until what became of orders has been written.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FrontDesk {
    /// None where nobody can ask.
    asked: Option<mpsc::Receiver<Asked>>,
    /// Where what has happened is put up.
    timeline: Option<Timeline>,
    /// Those who wait for the answer that was asked for.
    waiting: Vec<Question>,
    /// Those who wait for what becomes of their orders.
    orders: BTreeMap<u64, oneshot::Sender<OrderOutcome>>,
    last_order: u64,
    /// All of its permits are there when nobody waits to read what became of an order.
    places: Option<Arc<Semaphore>>,
    /// Those who listen, which end with this.
    listeners: JoinSet<()>,
}

impl FrontDesk {
    /// Begins to listen to those who ask; within a runtime of tokio.
    ///
    /// # Errors
    /// A socket that cannot be used.
    pub(super) fn open(setting: Option<admin::Setting>) -> io::Result<Self> {
        let Some(setting) = setting else {
            return Ok(Self::default());
        };
        let Opened {
            asked,
            orders,
            timeline,
            listeners,
        } = admin::start(setting)?;
        Ok(Self {
            asked: Some(asked),
            timeline: Some(timeline),
            places: Some(orders),
            listeners,
            ..Self::default()
        })
    }

    /// What is asked for next. Can be dropped while it waits.
    pub(super) async fn next(&mut self) -> Asked {
        let next = match &mut self.asked {
            Some(asked) => asked.recv().await,
            None => None,
        };
        match next {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// Keeps whoever asks until the answer comes; what the master must be told.
    pub(super) fn take_in(&mut self, asked: Asked) -> Option<FromAgent> {
        match asked {
            Asked::Status(question) => self.keep(question).then_some(FromAgent::StatusWanted),
            Asked::Order(ordered) => {
                let admin::Ordered { order, by, outcome } = ordered;
                self.last_order += 1;
                let number = self.last_order;
                self.orders.insert(number, outcome);
                Some(FromAgent::Ordered { number, order, by })
            }
        }
    }

    /// The master has told what became of an order.
    pub(super) fn order_ended(&mut self, number: u64, outcome: OrderOutcome) {
        if let Some(giver) = self.orders.remove(&number) {
            let _gone = giver.send(outcome);
        }
    }

    /// Listens to nobody any more. Whoever has given an order reads what became of it, or that this is not known here.
    pub(super) async fn finish(mut self) {
        self.listeners.abort_all();
        self.asked = None;
        self.orders.clear();
        if let Some(places) = self.places.take() {
            let all = places.acquire_many(admin::ORDER_PLACES);
            let _given_up = tokio::time::timeout(FINISH_MAX, all).await;
        }
    }

    /// Keeps whoever asks until the answer comes; whether the master must be asked.
    pub(super) fn keep(&mut self, question: Question) -> bool {
        let is_asked = !self.waiting.is_empty();
        self.waiting.push(question);
        if is_asked {
            // Those whose patience is over; the first one stands for the question.
            let mut is_first = true;
            self.waiting
                .retain(|it| std::mem::take(&mut is_first) || !it.is_closed());
        }
        !is_asked
    }

    /// The master has told what has happened.
    pub(super) fn happened(&self, document: String) {
        if let Some(timeline) = &self.timeline {
            timeline.put_up(document);
        }
    }

    /// The master has answered.
    pub(super) fn answer(&mut self, document: String) {
        let document: Arc<str> = document.into();
        for question in self.waiting.drain(..) {
            let _gone = question.send(Arc::clone(&document));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Ordered;
    use crate::channel::Order;

    #[tokio::test]
    async fn many_who_ask_are_one_question_and_get_one_answer() {
        let mut desk = FrontDesk::default();
        let (first, heard_by_first) = oneshot::channel();
        let (second, heard_by_second) = oneshot::channel();
        assert!(desk.keep(first), "the master must be asked");
        assert!(!desk.keep(second), "it is asked already");
        desk.answer("{}".to_owned());
        assert_eq!(&*heard_by_first.await.unwrap(), "{}");
        assert_eq!(&*heard_by_second.await.unwrap(), "{}");
        let (third, _) = oneshot::channel();
        assert!(desk.keep(third), "what was answered is over");
    }

    #[tokio::test]
    async fn whoever_has_left_is_forgotten_and_the_master_is_not_asked_again_for_it() {
        let mut desk = FrontDesk::default();
        for place in 0..10 {
            let (question, answer) = oneshot::channel();
            assert_eq!(desk.keep(question), place == 0);
            drop(answer);
        }
        assert!(desk.waiting.len() <= 2);
    }

    #[tokio::test]
    async fn whoever_has_given_an_order_hears_what_became_of_this_one() {
        let mut desk = FrontDesk::default();
        let give = |desk: &mut FrontDesk| {
            let (outcome, told) = oneshot::channel();
            let (order, by) = (Order::Reload, "uid 0".to_owned());
            let message = desk.take_in(Asked::Order(Ordered { order, by, outcome }));
            let Some(FromAgent::Ordered { number, .. }) = message else {
                panic!("{message:?}");
            };
            (number, told)
        };
        let (first, of_first) = give(&mut desk);
        let (second, of_second) = give(&mut desk);
        let (_third, of_third) = give(&mut desk);
        let done = |what: &str| OrderOutcome::Done(what.to_owned());
        desk.order_ended(second, done("second"));
        desk.order_ended(first, done("first"));
        desk.order_ended(first, done("again"));
        assert_eq!(of_first.await.unwrap(), done("first"));
        assert_eq!(of_second.await.unwrap(), done("second"));
        desk.finish().await;
        assert!(of_third.await.is_err(), "nobody will know");
    }
}
