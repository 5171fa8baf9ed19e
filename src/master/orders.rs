//! Orders that come through the agent, from the admin listener: bounded in number, noted with who gave them, and done as what a command
//! asks for is.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Master;
use crate::channel::{Order, OrderOutcome, ToAgent};
use crate::supervisor::{Caller, Event, Scale};

/// So many at once, and as many in a second. Whoever gives orders by hand never gets there.
const ORDERS_MAX: Quota = Quota::per_second(NonZeroU32::new(4).unwrap());

/// So many wait for what becomes of them.
const WAITING_MAX: usize = 16;

/// A reason may name every mistake of a configuration; so much of it is told, in bytes.
const REASON_MAX: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Orders {
    limiter: DefaultDirectRateLimiter,
    /// Those that nothing was done about yet.
    arrived: VecDeque<Given>,
    /// What the agent calls those whose outcome it waits for.
    waiting: BTreeMap<Caller, u64>,
}

/// One of them.
#[derive(Debug)]
struct Given {
    /// What the agent calls it.
    number: u64,
    order: Order,
    by: String,
}

impl Orders {
    /// None has come yet.
    pub(super) fn new() -> Self {
        Self {
            limiter: RateLimiter::direct(ORDERS_MAX),
            arrived: VecDeque::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// One has come; `by` says who gave it. It is done when everything else that the agent says has been taken in, for it may replace the
    /// agent.
    pub(super) fn arrive(&mut self, number: u64, order: Order, by: String) {
        self.arrived.push_back(Given { number, order, by });
    }

    /// Whether it comes from the admin listener.
    pub(super) fn has_given(&self, caller: Caller) -> bool {
        self.waiting.contains_key(&caller)
    }

    /// Whether anybody waits for what becomes of an order.
    pub(super) fn has_whom_to_tell(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The agent that waits has gone: nobody is told any more.
    pub(super) fn forget(&mut self) {
        self.arrived.clear();
        self.waiting.clear();
    }
}

impl Master {
    /// Does what the agent was asked for.
    pub(super) fn take_orders(&mut self) {
        while let Some(given) = self.orders.arrived.pop_front() {
            let Given { number, order, by } = given;
            let is_too_much = self.orders.waiting.len() >= WAITING_MAX;
            if is_too_much || self.orders.limiter.check().is_err() {
                tracing::debug!(%order, by, "too many orders: nothing is done");
                let outcome = OrderOutcome::TooMany;
                self.agent.tell(&ToAgent::OrderEnded { number, outcome });
                continue;
            }
            tracing::info!(%order, by, "ordered on the admin listener");
            self.note_order(order, &by);
            let caller = self.control.next_caller();
            self.orders.waiting.insert(caller, number);
            self.carry_out(caller, order);
        }
    }

    /// Does it; the caller is told what came of it when that is known.
    pub(super) fn carry_out(&mut self, caller: Caller, order: Order) {
        let scale = |scale| Event::ScaleRequested(scale, Some(caller));
        match order {
            Order::Reload => self.feed(Event::ReloadRequested(Some(caller))),
            Order::ScaleTo(workers) => self.feed(scale(Scale::To(workers))),
            Order::ScaleUp => self.feed(scale(Scale::Up)),
            Order::ScaleDown => self.feed(scale(Scale::Down)),
            Order::Pause => {
                let outcome = if self.supervisor.is_stopping() {
                    Err("the server is stopping".to_owned())
                } else if self.supervisor.serving().is_none() {
                    Err("no generation serves yet".to_owned())
                } else {
                    self.feed(Event::PauseRequested);
                    let done = "paused: workers finish what is in flight, and none serves until the next reload";
                    Ok(done.to_owned())
                };
                self.tell_caller(caller, outcome);
            }
        }
    }

    /// Tells whoever asked for something what came of it.
    pub(super) fn tell_caller(&mut self, caller: Caller, outcome: Result<String, String>) {
        let Some(number) = self.orders.waiting.remove(&caller) else {
            return self.control.answer(caller, outcome);
        };
        let outcome = match outcome {
            Ok(done) => OrderOutcome::Done(done),
            Err(mut reason) => {
                reason.truncate(reason.floor_char_boundary(REASON_MAX));
                OrderOutcome::Failed(reason)
            }
        };
        self.agent.tell(&ToAgent::OrderEnded { number, outcome });
    }
}
