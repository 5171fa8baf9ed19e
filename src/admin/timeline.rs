//! What has happened last, for everybody who watches: put up once, read by many.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

/// So many are shown.
const EVENTS_MAX: usize = 100;

/// See the module. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Timeline(watch::Sender<VecDeque<Arc<str>>>);

impl Timeline {
    pub(super) fn new(documents: Vec<String>) -> Self {
        let timeline = Self(watch::Sender::default());
        for document in documents {
            timeline.put_up(document);
        }
        timeline
    }

    /// The JSON of one more event. What is older than a hundred others goes.
    pub fn put_up(&self, document: String) {
        self.0.send_modify(|events| {
            events.push_back(document.into());
            let beyond = events.len().saturating_sub(EVENTS_MAX);
            events.drain(..beyond);
        });
    }

    pub(super) fn watch(&self) -> watch::Receiver<VecDeque<Arc<str>>> {
        self.0.subscribe()
    }
}

/// All of them as one JSON array, oldest first.
pub(super) fn written(events: &VecDeque<Arc<str>>) -> String {
    let events: Vec<&str> = events.iter().map(AsRef::as_ref).collect();
    format!("[{}]", events.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_are_shown() {
        let timeline = Timeline::new((0..90).map(|number| number.to_string()).collect());
        let watching = timeline.watch();
        for number in 90..120 {
            timeline.clone().put_up(number.to_string());
        }
        let shown: Vec<u32> = serde_json::from_str(&written(&watching.borrow())).unwrap();
        assert_eq!(shown, (20..120).collect::<Vec<_>>());
    }
}
