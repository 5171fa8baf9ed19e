//! How the agent is forked, and what it is given.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::watched::{Process, Watched};
use super::{AgentAssignment, Known};
use crate::channel::Decoder;
use crate::config::{Fetch, Log};
use crate::logging;
use crate::master::Master;
use crate::sys::identity::Identity;
use crate::sys::process::{self, Keep, ProcessId};

impl Master {
    /// Who it shall be, and where its log goes.
    pub(super) fn agent_setting(&self) -> Option<(&Identity, &Log)> {
        let pinned = self.serving().or_else(|| self.generations.values().last());
        pinned.map(|pinned| (&pinned.identity, &pinned.loaded.config.log))
    }

    pub(super) fn fork_agent(&mut self, feeds: &[Fetch]) -> Result<ProcessId, String> {
        let setting = self.agent_setting();
        let (identity, log) = setting.ok_or("there is no generation")?;
        let (identity, log) = (identity.clone(), log.clone());
        let (ours, theirs) = UnixStream::pair().map_err(|error| format!("socketpair: {error}"))?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true)
                .map_err(|error| format!("socketpair: {error}"))?;
        }
        let known = |fetch: &Fetch| {
            let known = self.agent.last_good(fetch)?;
            Some(Known {
                since: known.at,
                // Without a descriptor it is fetched anew.
                content: known.file.try_clone().ok()?,
            })
        };
        let feeds_known: Vec<(Fetch, Option<Known>)> = feeds
            .iter()
            .map(|fetch| (fetch.clone(), known(fetch)))
            .collect();
        let tokens = self.tokens_of_newest().cloned();
        let now = self.now();
        let watch = |(fetch, known): &(Fetch, Option<Known>)| {
            Watched::new(fetch.clone(), known.is_some(), now)
        };
        let watched = feeds_known.iter().map(watch).collect();
        let mut keep = vec![Keep::new(&theirs)];
        keep.extend(logging::descriptors());
        let contents = feeds_known.iter().filter_map(|(_, known)| known.as_ref());
        keep.extend(contents.map(|known| Keep::new(&known.content)));
        let admin = self.admin_setting();
        let admin_assignment = admin.as_ref().map(|setting| self.lend_admin(setting));
        let admin_assignment = admin_assignment
            .transpose()
            .map_err(|error| format!("sockets of `admin.bind`: {error}"))?;
        if let Some(assignment) = &admin_assignment {
            keep.extend(assignment.sockets.iter().map(|it| Keep::new(&it.socket)));
            keep.extend(assignment.keys.as_ref().map(Keep::new));
        }
        let hooks = self.hooks().cloned();
        let sources = self.watched_sources();
        let assignment = AgentAssignment {
            master: ProcessId::own(),
            channel: theirs,
            feeds: feeds_known,
            identity: identity.clone(),
            log: log.clone(),
            admin: admin_assignment,
            hooks: hooks.clone(),
            sources: sources.clone(),
        };
        // The newest generation knows what is to be fetched for it.
        let newest = self.generations.values().last();
        let run = newest.map(|pinned| Rc::clone(&pinned.loaded.run_agent));
        let run = run.ok_or("there is no generation")?;
        let forked = process::fork_worker(&keep, move || {
            logging::after_fork();
            run(assignment)
        });
        let pid = forked.map_err(|error| format!("fork: {error}"))?;
        self.agent.process = Some(Process {
            pid,
            started: now,
            channel: ours,
            incoming: Decoder::default(),
            descriptors: VecDeque::new(),
            outgoing: Vec::new(),
            feeds: watched,
            tokens,
            identity,
            log,
            admin,
            hooks,
            sources,
        });
        Ok(pid)
    }
}
