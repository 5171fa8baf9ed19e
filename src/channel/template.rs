//! What the master and a template say to each other: packets with one JSON object each (`SOCK_SEQPACKET`, unix(7)), so that
//! descriptors belong to the message that they came with.

use serde::{Deserialize, Serialize};

/// The longest packet, in bytes.
pub const TEMPLATE_PACKET_MAX: usize = 64 * 1024;

/// What the master tells a template. When it says no more the template ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToTemplate {
    /// Fork a worker. Along come its end of its channel, then its listeners. [`FromTemplate::Forked`] or
    /// [`FromTemplate::NotForked`] answers it.
    Fork(ForkOrder),
    /// The log files were opened anew. What comes along is where lines go now, in the order of the fields; with nothing the
    /// template opens them itself.
    ReopenLogs {
        /// Whether that of the log comes along.
        log: bool,
        /// Whether that of the access log does.
        access_log: bool,
    },
}

/// The worker that is to be forked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkOrder {
    /// Its number.
    pub worker: u64,
    /// The slot it fills.
    pub slot: u16,
    /// How many workers its generation has.
    pub workers: u16,
    /// Its seat on the scoreboard.
    pub seat: usize,
    /// What comes along after its channel.
    pub listeners: Vec<LentListener>,
}

/// A listener whose socket comes along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LentListener {
    /// As the configuration names it.
    pub name: String,
    /// Whether other workers take connections from it too.
    pub shared: bool,
    /// Whether somebody outside has it too.
    pub inherited: bool,
}

/// What a template tells the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromTemplate {
    /// The application is imported, and workers can be forked.
    Ready,
    /// The application is imported, and cannot be forked. The template ends.
    Unfit {
        /// What it has made that no child can have, for the operator.
        reason: String,
    },
    /// Where the application's own code failed: it cannot boot, as it says next.
    Traceback {
        /// In many lines, for who waits for the outcome.
        text: String,
    },
    /// It cannot boot. It ends.
    Failed {
        /// Why, for the operator.
        reason: String,
    },
    /// The worker runs, as a child of the master.
    Forked {
        /// Its number.
        worker: u64,
        /// Its process.
        pid: i32,
    },
    /// The worker could not be forked, and does not exist.
    NotForked {
        /// Its number.
        worker: u64,
        /// Why, for the operator.
        reason: String,
    },
}

/// `message` as a packet.
pub fn packet(message: &impl Serialize) -> Vec<u8> {
    // A type of ours with string keys: serialising it into memory cannot fail.
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{FromTemplate, packet};

    #[test]
    fn the_loader_can_say_why_there_is_no_template() {
        // As `loader.py` writes it, for whatever the interpreter was to become.
        let line = b"{\"type\": \"failed\", \"reason\": \"too old\"}\n";
        let failed: FromTemplate = serde_json::from_slice(line).expect("a message");
        let reason = "too old".to_owned();
        assert_eq!(failed, FromTemplate::Failed { reason });
        assert_eq!(packet(&failed), br#"{"type":"failed","reason":"too old"}"#);
    }
}
