//! What master and worker, and master and agent, say to each other: one JSON object a line. Types and codec, no I/O.

mod template;

mod happening;
mod order;

use std::marker::PhantomData;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use template::{
    ForkOrder, FromTemplate, LentListener, TEMPLATE_PACKET_MAX, ToTemplate, packet,
};

pub use happening::{Happening, Trouble};
pub use order::{Order, OrderOutcome};

/// What the master tells a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToWorker {
    /// Take connections.
    Accept,
    /// Finish what is in flight, then exit.
    Drain {
        /// Listeners that nobody will serve after this worker: empty their accept queues, then stop them from listening.
        close: Vec<String>,
        /// Listeners whose idle connections another worker goes on with. Where there are any, a socket comes along with the
        /// message, on which each of them is sent as [`Passed`] with its own.
        pass: Vec<String>,
    },
    /// Go on with the connections of another worker. A socket comes along with the message, on which they come.
    Adopt,
    /// Take what waits in the accept queue of another slot, whose worker has died. Its socket comes along with the message.
    TakeOver {
        /// As the configuration names it.
        listener: String,
        /// Which slot.
        slot: u16,
    },
    /// Something that changes by itself.
    Feed(FeedNews),
    /// Exit without finishing anything.
    Quit,
    /// Open the log files anew.
    ReopenLogs,
    /// Take this in: it shows that the event loop turns.
    ShowLife,
    /// Answer [`ToMaster::Memory`].
    TellMemory,
    /// Answer [`ToMaster::Stacks`].
    TellStacks {
        /// Comes back with the answer.
        question: u64,
    },
}

/// What is new about something that changes by itself: keys, deny lists. `feed` is its place in the feeds of the worker's
/// configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FeedNews {
    /// It has changed. A sealed file with its new content comes along with the message.
    Changed {
        /// Which.
        feed: u32,
        /// When it was fetched, in seconds since 1970; absent for what comes from a file.
        at: Option<u64>,
    },
    /// It was found to be still what it is.
    Confirmed {
        /// Which.
        feed: u32,
        /// When, in seconds since 1970.
        at: u64,
        /// What it is. Who has something else has not got what came last, and asks with [`ToMaster::FeedMissing`].
        content: Fingerprint,
    },
    /// It could not be had, or was not fetched again: whoever waits for it need not wait any longer.
    Failed {
        /// Which.
        feed: u32,
        /// Too often asked for: nobody need ask again for so many milliseconds.
        again_in: Option<u64>,
    },
}

/// Tells the contents of a feed apart: base64url of the SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// That of a content.
    pub fn of(content: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, content)))
    }
}

/// What a worker tells the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToMaster {
    /// It has booted and could serve.
    Ready,
    /// It was told to drain, and takes no connections any more from the listeners on which others go on.
    StoppedAccepting,
    /// It has taken everything out of the accept queue of a listener that it was told to close: the listener may stop now.
    Emptied {
        /// As [`ToWorker::Drain`] named it.
        listener: String,
    },
    /// It has taken what waited there, as [`ToWorker::TakeOver`] said: the listener may stop now.
    TookOver {
        /// As it was named.
        listener: String,
        /// Which slot.
        slot: u16,
    },
    /// A request needs a key that its issuer is not known to have, or a list that is not known or too old. [`ToWorker::Feed`] answers
    /// it.
    FeedWanted {
        /// The place of the keys or the list in the feeds of the worker's configuration.
        feed: u32,
    },
    /// What came last of a feed did not arrive: it is handed again.
    FeedMissing {
        /// Its place in the feeds of the worker's configuration.
        feed: u32,
    },
    /// It has answered as many requests as it may: it serves on until another one takes its place.
    ServedOut,
    /// One of its requests is stuck: it serves on until another one takes its place.
    Stuck,
    /// Its probe has failed too often in a row: it serves on until another one takes its place, or until it passes again.
    ProbeFailed {
        /// How, for the operator.
        reason: String,
    },
    /// It passes again, after that.
    ProbePassed,
    /// What it holds in memory.
    Memory {
        /// In bytes, what is shared divided by the number of those who share it; absent where the kernel does not tell.
        pss: Option<u64>,
    },
    /// What its threads do.
    Stacks {
        /// As [`ToWorker::TellStacks`] had it.
        question: u64,
        /// None: it runs no Python.
        stacks: Option<Stacks>,
    },
    /// A file in memory comes along, into which it writes what its threads did when it dies of a fault.
    LastWords,
    /// For development: it is about to be ready, but its application cannot be loaded, and in the place of that it shows why.
    StandsIn {
        /// Why, for the operator.
        reason: String,
    },
    /// Where the application's own code failed: it cannot boot, as it says next.
    Traceback {
        /// In many lines, for who waits for the outcome.
        text: String,
    },
    /// It cannot boot.
    Failed {
        /// Why, for the operator.
        reason: String,
    },
}

/// What the threads of a worker do. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// None of them can run Python: code that is no Python holds the interpreter.
    pub interpreter_is_held: bool,
    /// Each of them.
    pub threads: Vec<ThreadStack>,
    /// How many were left out, for there are so many, or their stacks are so long.
    pub left_out: usize,
}

/// What a thread does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadStack {
    /// What it is called.
    pub name: String,
    /// The request that it executes.
    pub request: Option<String>,
    /// For how many milliseconds.
    pub milliseconds: Option<u64>,
    /// The calls that it is in: the last one last, or first where the interpreter is held.
    pub stack: String,
}

/// What the master tells the agent. A feed is something that is fetched, by its place in what the agent was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToAgent {
    /// A worker met the name of a key that its set does not have, or lacks a list: fetch it again soon. Exactly one of
    /// [`FromAgent::Fetched`], [`FromAgent::Confirmed`] and [`FromAgent::Failed`] answers all that wait for the same feed.
    Wanted {
        /// Which.
        feed: u32,
    },
    /// What the master knows of itself and its workers, as [`FromAgent::StatusWanted`] asked.
    Status {
        /// The JSON of the answer to `destrier status`, without the requests in flight and the deaths.
        document: String,
    },
    /// Something that whoever asked for it in `hooks.on_event` is told.
    Happened {
        /// When, in seconds since 1970.
        at: u64,
        /// What.
        happening: Happening,
    },
    /// Something has happened: the JSON of one of the events of `destrier status`.
    Event {
        /// That.
        document: String,
    },
    /// What became of [`FromAgent::Ordered`].
    OrderEnded {
        /// As it was numbered.
        number: u64,
        /// That.
        outcome: OrderOutcome,
    },
    /// Open the log files anew.
    ReopenLogs,
    /// Exit.
    Quit,
}

/// What the agent tells the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromAgent {
    /// For development: source files of the application have changed.
    SourceChanged {
        /// The first of them.
        file: String,
    },
    /// Monitoring asks: one [`ToAgent::Status`] answers it. It is not asked again before that has come.
    StatusWanted,
    /// Somebody who may has given an order: one [`ToAgent::OrderEnded`] answers it.
    Ordered {
        /// Counted by the agent.
        number: u64,
        /// What.
        order: Order,
        /// Who, in words.
        by: String,
    },
    /// It was fetched and judged good, and is not what was fetched before. It comes along with the message, as a sealed file: the
    /// JSON of a JWK set, or of a deny list.
    Fetched {
        /// Which.
        feed: u32,
        /// When, in seconds since 1970.
        at: u64,
        /// How many keys, or entries of the list, there are.
        entries: u64,
        /// When it is fetched anew, in seconds since 1970.
        next: u64,
        /// What it is.
        content: Fingerprint,
    },
    /// Its server says that what was fetched last is still so.
    Confirmed {
        /// Which.
        feed: u32,
        /// When, in seconds since 1970.
        at: u64,
        /// When it is fetched anew, in seconds since 1970.
        next: u64,
        /// What it is.
        content: Fingerprint,
    },
    /// An attempt brought nothing, or was not made: whoever waits for a new key need not wait any longer.
    Failed {
        /// Which.
        feed: u32,
        /// Why, for the operator.
        reason: String,
        /// Too often asked for: who asks again within so many milliseconds is told the same.
        again_in: Option<u64>,
        /// When it is tried again, in seconds since 1970; none where no attempt was made.
        next: Option<u64>,
    },
}

/// A connection that one worker passes on to another one: a packet of its own, with the connection's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// Where it was accepted, as the configuration names it.
    pub listener: String,
    /// Whether nothing has arrived on it yet; else its last answer is complete.
    pub is_fresh: bool,
    /// Since when that is so, in monotonic nanoseconds: its time-outs go on.
    pub since: u64,
    /// What its PROXY header said; none where it had none.
    pub announced: Option<Announced>,
}

/// What a proxy has said of a connection in its PROXY header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announced {
    /// Where it comes from, as `ADDRESS:PORT`, or `unix`; none: from the proxy itself, or it does not know.
    pub source: Option<String>,
    /// Whether the proxy has taken off TLS.
    pub is_https: bool,
}

/// The longest packet with a [`Passed`], in bytes.
pub const PASSED_MAX: usize = 4096;

/// The longest line that is accepted, in bytes.
pub const LINE_MAX: usize = 1024 * 1024;

/// A line that is no message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON that was expected.
    #[error("not a message: {0}")]
    Syntax(#[from] serde_json::Error),
    /// More than [`LINE_MAX`] bytes without a line break.
    #[error("a line of more than {LINE_MAX} bytes")]
    TooLong,
}

/// `message` as a line, with its line break.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // A type of ours with string keys: serialising it into memory cannot fail.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub struct Decoder<T> {
    buffer: Vec<u8>,
    message: PhantomData<fn() -> T>,
}

impl<T> Default for Decoder<T> {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            message: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Decoder<T> {
    /// Takes in bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The bytes that are no whole message yet, for whoever goes on reading the stream.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// The next whole message; `None` until more bytes have come.
    ///
    /// # Errors
    /// A line that is no message; the one after it can be read all the same, unless a line was too long.
    pub fn next_message(&mut self) -> Option<Result<T, DecodeError>> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return (self.buffer.len() > LINE_MAX).then_some(Err(DecodeError::TooLong));
        };
        let rest = self.buffer.split_off(end + 1);
        let line = std::mem::replace(&mut self.buffer, rest);
        Some(serde_json::from_slice(&line).map_err(DecodeError::from))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Decoder, FeedNews, LINE_MAX, ToMaster, ToWorker, encode};

    #[test]
    fn a_message_too_long_is_refused_before_it_fills_the_memory() {
        let mut decoder = Decoder::<ToMaster>::default();
        decoder.push(&vec![b'x'; LINE_MAX + 1]);
        assert!(decoder.next_message().expect("an answer").is_err());
    }

    #[test]
    fn news_of_a_feed_are_a_message_of_their_own() {
        let message = ToWorker::Feed(FeedNews::Changed {
            feed: 3,
            at: Some(7),
        });
        let line = encode(&message);
        assert_eq!(
            String::from_utf8_lossy(&line),
            "{\"type\":\"feed\",\"news\":\"changed\",\"feed\":3,\"at\":7}\n"
        );
        let mut decoder = Decoder::<ToWorker>::default();
        decoder.push(&line);
        assert_eq!(decoder.next_message().unwrap().unwrap(), message);
    }

    #[test]
    fn an_unknown_message_is_an_error_and_the_next_one_is_read() {
        let mut decoder = Decoder::<ToWorker>::default();
        decoder.push(b"{\"type\":\"dance\"}\n{\"type\":\"accept\"}\n");
        assert!(decoder.next_message().expect("an answer").is_err());
        assert_eq!(
            decoder
                .next_message()
                .expect("an answer")
                .expect("a message"),
            ToWorker::Accept
        );
        assert!(decoder.next_message().is_none());
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_however_it_is_cut(reasons in prop::collection::vec(".*", 0..5), cut in 1_usize..20) {
            let messages: Vec<ToMaster> = reasons.into_iter().map(|reason| ToMaster::Failed { reason }).collect();
            let bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
            let mut decoder = Decoder::<ToMaster>::default();
            let mut decoded: Vec<ToMaster> = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(message) = decoder.next_message() {
                    decoded.push(message.expect("a message"));
                }
            }
            prop_assert_eq!(decoded, messages);
        }

        #[test]
        fn no_bytes_can_make_it_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::<ToWorker>::default();
            decoder.push(&bytes);
            while let Some(Ok(_)) = decoder.next_message() {}
        }
    }
}
