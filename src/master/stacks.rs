//! `destrier status --stacks`: every worker is asked what its threads do, and whoever wants to know is answered when all have said it,
//! or when their time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Master;
use super::control::Answer;
use crate::channel::ToWorker;
pub use crate::channel::{Stacks, ThreadStack};
use crate::supervisor::{Caller, Now, WorkerId};

/// A worker has a second for its interpreter, and one for what `faulthandler` says in its place.
const PATIENCE: Duration = Duration::from_secs(3);

/// So many bytes of stacks go into an answer.
const ANSWER_MAX: usize = 8 << 20;

/// What every thread of every worker does. Fields are only ever added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StacksStatus {
    /// Each worker, oldest first.
    pub workers: Vec<WorkerStacks>,
}

/// What the threads of a worker do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerStacks {
    /// Its number.
    pub worker: u64,
    /// Its process.
    pub pid: u32,
    /// The slot it fills.
    pub slot: u16,
    /// The generation it runs.
    pub generation: u64,
    /// As in `status`.
    pub state: String,
    /// `told`; `no-python`: it has nothing to show; `no-answer`: its event loop did not turn in time; `left-out`: the answer would be too
    /// large.
    pub outcome: StacksOutcome,
    /// What it said.
    pub stacks: Option<Stacks>,
}

/// Whether a worker has said what its threads do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StacksOutcome {
    /// It has.
    Told,
    /// It runs no Python.
    NoPython,
    /// It did not answer in time.
    NoAnswer,
    /// It has, but others have said so much before it.
    LeftOut,
}

/// Who asked, and what has been said.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: BTreeMap<u64, Question>,
    last: u64,
}

#[derive(Debug)]
struct Question {
    caller: Caller,
    until: Now,
    /// Those who were asked, with what they said.
    answers: BTreeMap<WorkerId, Said>,
}

#[derive(Debug)]
enum Said {
    Nothing,
    NoPython,
    Stacks(Stacks),
}

impl Questions {
    /// When [`Master::end_questions`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Now> {
        self.asked.values().map(|question| question.until).min()
    }
}

impl Master {
    /// Asks every worker.
    pub(super) fn ask_for_stacks(&mut self, caller: Caller) {
        self.questions.last += 1;
        let number = self.questions.last;
        let workers: Vec<WorkerId> = self.crew.iter().map(|(id, _)| id).collect();
        for id in &workers {
            self.tell(*id, &ToWorker::TellStacks { question: number });
        }
        let question = Question {
            caller,
            until: self.now() + PATIENCE,
            answers: workers.into_iter().map(|id| (id, Said::Nothing)).collect(),
        };
        self.questions.asked.insert(number, question);
        self.end_questions();
    }

    /// A worker has said what its threads do.
    pub(super) fn take_stacks(&mut self, id: WorkerId, number: u64, stacks: Option<Stacks>) {
        let question = self.questions.asked.get_mut(&number);
        if let Some(answer) = question.and_then(|question| question.answers.get_mut(&id)) {
            *answer = stacks.map_or(Said::NoPython, Said::Stacks);
        }
        self.end_questions();
    }

    /// Answers those whose time is over, and those for whom everything has been said.
    pub(super) fn end_questions(&mut self) {
        let now = self.now();
        let crew = &self.crew;
        // Whoever has died says nothing any more.
        let is_over = |_: &u64, question: &mut Question| {
            let mut answers = question.answers.iter();
            question.until <= now
                || answers
                    .all(|(id, answer)| !matches!(answer, Said::Nothing) || crew.get(*id).is_none())
        };
        let over: Vec<_> = self.questions.asked.extract_if(.., is_over).collect();
        for (_, question) in over {
            self.answer_question(question);
        }
    }

    /// Answers everybody with what is known by now: another program that goes on does not know who asked.
    pub(super) fn end_all_questions(&mut self) {
        for question in std::mem::take(&mut self.questions.asked).into_values() {
            self.answer_question(question);
        }
    }

    fn answer_question(&mut self, mut question: Question) {
        let mut room = ANSWER_MAX;
        let workers = self.supervisor.workers().filter_map(|worker| {
            let hand = self.crew.get(worker.id)?;
            let said = question.answers.remove(&worker.id);
            let (outcome, stacks) = match said {
                None | Some(Said::Nothing) => (StacksOutcome::NoAnswer, None),
                Some(Said::NoPython) => (StacksOutcome::NoPython, None),
                Some(Said::Stacks(stacks)) => {
                    let size = stacks.threads.iter().map(|thread| thread.stack.len()).sum();
                    match room.checked_sub(size) {
                        Some(rest) => {
                            room = rest;
                            (StacksOutcome::Told, Some(stacks))
                        }
                        None => (StacksOutcome::LeftOut, None),
                    }
                }
            };
            Some(WorkerStacks {
                worker: worker.id.0,
                pid: hand.pid.number(),
                slot: worker.slot.0,
                generation: worker.generation.0,
                state: worker.state.word().to_owned(),
                outcome,
                stacks,
            })
        });
        let status = StacksStatus {
            workers: workers.collect(),
        };
        let answer = Answer::Stacks(Box::new(status));
        self.control.send(question.caller, &answer);
    }
}
