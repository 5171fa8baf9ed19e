//! Passes on to the master what monitoring asks, one question at a time, and its answer to all who wait.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admin::{self, Opened, Question, Timeline};

/// See the module.
#[derive(Debug)]
pub(super) struct FrontDesk {
    /// None where nobody can ask.
    questions: Option<mpsc::Receiver<Question>>,
    /// Where what has happened is put up.
    timeline: Option<Timeline>,
    /// Those who wait for the answer that was asked for.
    waiting: Vec<Question>,
    /// Those who listen, which end with this.
    _listeners: JoinSet<()>,
}

impl FrontDesk {
    /// Begins to listen to those who ask; within a runtime of tokio.
    ///
    /// # Errors
    /// A socket that cannot be used.
    pub(super) fn open(setting: Option<admin::Setting>) -> io::Result<Self> {
        let (questions, timeline, listeners) = match setting.map(admin::start).transpose()? {
            Some(Opened {
                questions,
                timeline,
                listeners,
            }) => (Some(questions), Some(timeline), listeners),
            None => (None, None, JoinSet::new()),
        };
        Ok(Self {
            questions,
            timeline,
            waiting: Vec::new(),
            _listeners: listeners,
        })
    }

    /// The next question. Can be dropped while it waits.
    pub(super) async fn next(&mut self) -> Question {
        let next = match &mut self.questions {
            Some(questions) => questions.recv().await,
            None => None,
        };
        match next {
            Some(question) => question,
            None => std::future::pending().await,
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
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn many_who_ask_are_one_question_and_get_one_answer() {
        let (_sender, questions) = mpsc::channel(1);
        let mut desk = FrontDesk {
            questions: Some(questions),
            timeline: None,
            waiting: Vec::new(),
            _listeners: JoinSet::new(),
        };
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
        let mut desk = FrontDesk {
            questions: None,
            timeline: None,
            waiting: Vec::new(),
            _listeners: JoinSet::new(),
        };
        for place in 0..10 {
            let (question, answer) = oneshot::channel();
            assert_eq!(desk.keep(question), place == 0);
            drop(answer);
        }
        assert!(desk.waiting.len() <= 2);
    }
}
