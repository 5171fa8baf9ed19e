//! The whole loop, over its channel.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::super::changes::Changes;
use super::super::client::Limits;
use super::super::front_desk::FrontDesk;
use super::super::watch::Watch;
use super::super::{Feed, Known, keep_fresh};
use super::server::{Server, ok, status};
use super::{KEY, OTHER_KEY, fetch, set};
use crate::channel::{Decoder, Fingerprint, FromAgent, ToAgent, encode};
use crate::config::KEYS_MAX;
use crate::master_end::MasterEnd;
use crate::sys::clock;
use crate::sys::handover::{read_sealed, sealed_file};
use crate::sys::process::ProcessId;
use crate::sys::socket;

/// The other end of the channel of an agent that runs.
struct Master {
    channel: UnixStream,
    incoming: Decoder<FromAgent>,
    descriptors: VecDeque<OwnedFd>,
    agent: JoinHandle<io::Result<()>>,
}

impl Master {
    fn start(feeds: Vec<Feed>) -> Self {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let master = MasterEnd::new(theirs).unwrap();
        let agent = tokio::spawn(async move {
            {
                let mut desk = FrontDesk::open(None)?;
                let mut watch = Watch::new(None, ProcessId::own());
                let mut changes = Changes::new(None);
                let told = (&mut desk, &mut watch, &mut changes);
                keep_fresh(master, feeds, None, told, &Limits::default()).await
            }
        });
        Self {
            channel: UnixStream::from_std(ours).unwrap(),
            incoming: Decoder::default(),
            descriptors: VecDeque::new(),
            agent,
        }
    }

    async fn say(&mut self, message: &ToAgent) {
        self.channel.write_all(&encode(message)).await.unwrap();
    }

    async fn next(&mut self) -> FromAgent {
        loop {
            if let Some(message) = self.incoming.next_message() {
                return message.unwrap();
            }
            let mut bytes = [0; 4096];
            let receive = || socket::receive_with(&self.channel, &mut bytes);
            let received = self.channel.async_io(Interest::READABLE, receive);
            let received = tokio::time::timeout(Duration::from_secs(20), received);
            let (count, along) = received.await.expect("a message").unwrap();
            assert!(count > 0, "the agent is gone");
            self.descriptors.extend(along.received().flatten());
            self.incoming.push(&bytes[..count]);
        }
    }

    /// The content of the next message, which must be a new one of this feed.
    async fn fetched(&mut self, expected: u32) -> String {
        let message = self.next().await;
        let FromAgent::Fetched {
            feed,
            at,
            entries,
            next,
            content,
        } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!(feed, expected);
        assert!(clock::unix().as_secs() - at < 20 && next > at);
        let file = self.descriptors.pop_front().expect("it came along");
        let bytes = read_sealed(file, KEYS_MAX).unwrap();
        assert_eq!(content, Fingerprint::of(&bytes));
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let all = json["keys"]
            .as_array()
            .or_else(|| json["revoked"].as_array());
        assert_eq!(usize::try_from(entries).unwrap(), all.unwrap().len());
        String::from_utf8(bytes).unwrap()
    }
}

fn feed(url: &str) -> Feed {
    Feed {
        fetch: fetch(url),
        known: None,
    }
}

#[tokio::test]
async fn every_feed_is_fetched_at_once_and_what_is_the_same_is_confirmed() {
    let server = Server::start(|path, _| match path {
        "/one" => ok(&set(&[KEY])),
        "/two" => ok(&set(&[OTHER_KEY])),
        _ => status(500),
    })
    .await;
    let mut feeds = vec![feed(&server.url("/one"))];
    let mut master = Master::start(std::mem::take(&mut feeds));
    assert_eq!(master.fetched(0).await, set(&[KEY]));
    master.say(&ToAgent::Wanted { feed: 0 }).await;
    let message = master.next().await;
    assert!(
        matches!(message, FromAgent::Confirmed { feed: 0, .. }),
        "{message:?}"
    );

    let mut master = Master::start(vec![feed(&server.url("/none")), feed(&server.url("/two"))]);
    let mut seen = Vec::new();
    for _ in 0..2 {
        match master.next().await {
            FromAgent::Fetched { feed, .. } => seen.push((feed, "fetched".to_owned())),
            FromAgent::Failed {
                feed, reason, next, ..
            } => {
                assert!(next.is_some());
                seen.push((feed, reason));
            }
            FromAgent::Confirmed { .. }
            | FromAgent::StatusWanted
            | FromAgent::Ordered { .. }
            | FromAgent::SourceChanged { .. } => panic!("nothing was known"),
        }
    }
    seen.sort();
    let failure = format!(
        "`{}`: it answers 500 Internal Server Error",
        server.url("/none")
    );
    assert_eq!(seen, [(0, failure), (1, "fetched".to_owned())]);
    assert_eq!(master.descriptors.len(), 1);
    // It is tried again without being asked.
    let message = master.next().await;
    assert!(
        matches!(message, FromAgent::Failed { feed: 0, .. }),
        "{message:?}"
    );
    server.answer(|_, _| ok(&set(&[KEY])));
    master.descriptors.clear();
    assert_eq!(master.fetched(0).await, set(&[KEY]));
}

#[tokio::test]
async fn a_storm_of_wishes_is_one_request() {
    let server = Server::start(|_, _| ok(&set(&[KEY]))).await;
    let mut master = Master::start(vec![feed(&server.url("/"))]);
    master.fetched(0).await;
    server.answer(|_, _| ok(&set(&[KEY, OTHER_KEY])));
    for _ in 0..1000 {
        master.say(&ToAgent::Wanted { feed: 0 }).await;
    }
    assert_eq!(master.fetched(0).await, set(&[KEY, OTHER_KEY]));
    assert_eq!(server.asked().len(), 2);
    // A name that does not exist brings nothing.
    master.say(&ToAgent::Wanted { feed: 0 }).await;
    let message = master.next().await;
    assert!(
        matches!(message, FromAgent::Confirmed { feed: 0, .. }),
        "{message:?}"
    );
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn an_agent_that_is_told_what_is_known_fetches_when_that_is_due_or_asked_for() {
    let server = Server::start(|_, _| ok(&set(&[KEY]))).await;
    let now = clock::unix().as_secs();
    let known = |age: u64, content: &str| Feed {
        known: Some(Known {
            since: now - age,
            content: sealed_file("test", content.as_bytes()).unwrap().into(),
        }),
        ..feed(&server.url("/"))
    };
    let (same, other) = (set(&[KEY]), set(&[OTHER_KEY]));
    let mut master = Master::start(vec![known(0, &other), known(10_000, &same)]);
    // What the agent before this one has brought is not new.
    let content = Fingerprint::of(same.as_bytes());
    let message = master.next().await;
    assert!(
        matches!(&message, FromAgent::Confirmed { feed: 1, content: it, .. } if *it == content),
        "{message:?}"
    );
    assert_eq!(server.asked().len(), 1);
    master.say(&ToAgent::Wanted { feed: 0 }).await;
    assert_eq!(master.fetched(0).await, same);
    master.say(&ToAgent::Wanted { feed: 2 }).await;
    let reason = "there is no such feed".to_owned();
    let refused = FromAgent::Failed {
        feed: 2,
        reason,
        again_in: None,
        next: None,
    };
    assert_eq!(master.next().await, refused);
}

#[tokio::test]
async fn it_ends_on_order_and_with_its_master() {
    let server =
        Server::start(|_, _| http::Response::new(super::server::Text::never_ending("{"))).await;
    let mut master = Master::start(vec![feed(&server.url("/"))]);
    master.say(&ToAgent::ReopenLogs).await;
    master.say(&ToAgent::Quit).await;
    master.agent.await.unwrap().unwrap();

    let master = Master::start(vec![feed(&server.url("/"))]);
    drop(master.channel);
    master.agent.await.unwrap().unwrap();

    let mut master = Master::start(Vec::new());
    master.channel.write_all(b"nonsense\n").await.unwrap();
    master.agent.await.unwrap().unwrap();
}
