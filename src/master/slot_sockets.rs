//! The sockets of one address, one for each slot (`SO_REUSEPORT`, socket(7)), and which of them get new connections.
//!
//! The kernel numbers them: a socket that begins to listen is appended, and when one stops the last one takes its
//! number. New connections are steered by these numbers, so only this type opens and stops the sockets.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::supervisor::WorkerId;
use crate::sys::listener;

/// See the module.
#[derive(Debug)]
pub(super) struct SlotSockets {
    /// With the port that the kernel chose where 0 was asked for.
    pub(super) address: SocketAddr,
    pub(super) v6_only: bool,
    pub(super) backlog: u32,
    /// In the order of the kernel.
    pub(super) sockets: Vec<SlotSocket>,
    /// The slots that get new connections; all while it is absent.
    pub(super) serving: Option<BTreeSet<u16>>,
}

#[derive(Debug)]
pub(super) struct SlotSocket {
    pub(super) slot: u16,
    pub(super) socket: OwnedFd,
    /// The worker that was told to empty its queue, after which the socket listens no longer; whoever fills the slot next
    /// gets another one.
    pub(super) emptied_by: Option<WorkerId>,
}

impl SlotSocket {
    fn gets_connections(&self, serving: Option<&BTreeSet<u16>>) -> bool {
        self.emptied_by.is_none() && serving.is_none_or(|slots| slots.contains(&self.slot))
    }
}

impl SlotSockets {
    /// Of `address`, for the slots `0..slots`.
    pub(super) fn open(
        address: SocketAddr,
        v6_only: bool,
        backlog: u32,
        slots: u16,
    ) -> io::Result<Self> {
        let first = listener::listen_tcp(address, backlog, true, v6_only)?;
        let mut opened = Self {
            address: listener::local_address(&first)?.unwrap_or(address),
            v6_only,
            backlog,
            sockets: Vec::new(),
            serving: None,
        };
        opened.append(0, first);
        for slot in 1..slots {
            opened.lend(slot)?;
        }
        Ok(opened)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket of `slot` for a worker, opened where the slot is new.
    pub(super) fn lend(&mut self, slot: u16) -> io::Result<OwnedFd> {
        let there = self
            .sockets
            .iter()
            .find(|there| there.slot == slot && there.emptied_by.is_none());
        if let Some(there) = there {
            return there.socket.try_clone();
        }
        let socket = listener::listen_tcp(self.address, self.backlog, true, self.v6_only)?;
        let lent = socket.try_clone()?;
        self.append(slot, socket);
        Ok(lent)
    }

    /// The socket of `slot`, for somebody who serves what waits in it.
    pub(super) fn queue_of(&self, slot: u16) -> Option<io::Result<OwnedFd>> {
        let mut sockets = self.sockets.iter();
        let there = sockets.find(|there| there.slot == slot && there.emptied_by.is_none())?;
        Some(there.socket.try_clone())
    }

    /// The sockets that the worker was told to empty, with their slots.
    pub(super) fn emptied_by(&self, id: WorkerId) -> Vec<(u16, io::Result<OwnedFd>)> {
        let sockets = self.sockets.iter();
        let given_up = sockets.filter(|there| there.emptied_by == Some(id));
        given_up
            .map(|there| (there.slot, there.socket.try_clone()))
            .collect()
    }

    /// Another worker empties what `id` was told to empty in this slot.
    pub(super) fn pass_on(&mut self, slot: u16, id: WorkerId, heir: WorkerId) {
        self.sockets
            .iter_mut()
            .filter(|there| there.slot == slot && there.emptied_by == Some(id))
            .for_each(|there| there.emptied_by = Some(heir));
    }

    /// Stops what another worker was told to empty in this slot, and `heir` has emptied.
    pub(super) fn stop_taken_over(&mut self, slot: u16, heir: WorkerId) -> bool {
        self.stop(|there| there.slot == slot && there.emptied_by == Some(heir))
    }

    fn append(&mut self, slot: u16, socket: OwnedFd) {
        self.sockets.push(SlotSocket {
            slot,
            socket,
            emptied_by: None,
        });
    }

    /// From now on new connections go to the slots `serving`; to all when it is absent.
    pub(super) fn steer(&mut self, serving: Option<&BTreeSet<u16>>) -> io::Result<()> {
        self.serving = serving.cloned();
        self.steer_but_to(None)
    }

    /// New connections go where they shall, but for the socket of this number.
    fn steer_but_to(&self, left_out: Option<usize>) -> io::Result<()> {
        let gets_some = |number: usize, there: &SlotSocket| {
            Some(number) != left_out && there.gets_connections(self.serving.as_ref())
        };
        let numbered = self.sockets.iter().enumerate();
        let chosen: Vec<(usize, &SlotSocket)> = numbered
            .filter(|(number, there)| gets_some(*number, there))
            .collect();
        let Some((_, there)) = chosen.first() else {
            return Ok(());
        };
        let numbers = chosen.iter().map(|(number, _)| u32::try_from(*number));
        let numbers: Vec<u32> = numbers.filter_map(Result::ok).collect();
        listener::steer(&there.socket, &numbers)
    }

    /// The worker empties the queue of its slot, and nobody gets that socket again.
    pub(super) fn give_up(&mut self, slot: u16, id: WorkerId) {
        self.sockets
            .iter_mut()
            .filter(|there| there.slot == slot && there.emptied_by.is_none())
            .for_each(|there| there.emptied_by = Some(id));
    }

    /// Whether no socket is left that a worker will get.
    pub(super) fn are_given_up(&self) -> bool {
        self.sockets.iter().all(|there| there.emptied_by.is_some())
    }

    /// Stops what the worker was told to empty: it has, or it has ended. Returns whether there was anything.
    pub(super) fn stop_emptied_by(&mut self, id: WorkerId) -> bool {
        self.stop(|there| there.emptied_by == Some(id))
    }

    /// Stops the sockets of the slots at and above `slots`, except for those that a worker empties and those that
    /// `is_taken_over`. Returns whether there were any.
    pub(super) fn stop_from(&mut self, slots: u16, is_taken_over: impl Fn(u16) -> bool) -> bool {
        let is_idle = |there: &SlotSocket| there.emptied_by.is_none() && !is_taken_over(there.slot);
        self.stop(|there| there.slot >= slots && is_idle(there))
    }

    fn stop(&mut self, which: impl Fn(&SlotSocket) -> bool) -> bool {
        let before = self.sockets.len();
        while let Some(number) = self.sockets.iter().position(&which) {
            // The last one is about to take this number. For the moment in between its old number names nobody, and the
            // kernel would send connections anywhere: also to a socket that lets none in, whose client tries again after
            // a second. Where this fails it is for good, and `steer` has said so.
            let last = self.sockets.len().saturating_sub(1);
            let _cannot_steer = self.steer_but_to(Some(last));
            stop_listening(&self.sockets.swap_remove(number).socket);
            let _cannot_steer = self.steer_but_to(None);
        }
        self.sockets.len() < before
    }
}

/// Stops `socket` from listening in every process that holds it.
pub(super) fn stop_listening(socket: &OwnedFd) {
    if let Err(error) = listener::stop_listening(socket) {
        tracing::debug!(%error, "a socket listened no longer");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{SocketAddr, TcpStream};

    use super::SlotSockets;
    use crate::supervisor::WorkerId;
    use crate::sys::listener;

    fn open(slots: u16) -> SlotSockets {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        SlotSockets::open(any, false, 64, slots).expect("a port")
    }

    /// How many of 40 connections each slot got.
    fn knock(sockets: &mut SlotSockets, slots: u16) -> Vec<usize> {
        let _clients: Vec<TcpStream> = (0..40)
            .map(|_| TcpStream::connect(sockets.address()).expect("it listens"))
            .collect();
        let taken = |socket| std::iter::from_fn(|| listener::accept(&socket).ok()).count();
        (0..slots)
            .map(|slot| sockets.lend(slot).map_or(0, taken))
            .collect()
    }

    #[test]
    fn connections_go_to_the_slots_that_serve_and_to_all_when_none_does() {
        let mut sockets = open(3);
        let serving = BTreeSet::from([0, 2]);
        sockets.steer(Some(&serving)).expect("steered");
        let got = knock(&mut sockets, 3);
        assert!(got[0] > 0 && got[1] == 0 && got[2] > 0, "{got:?}");
        sockets.steer(None).expect("steered");
        assert!(knock(&mut sockets, 3).iter().all(|count| *count > 0));
    }

    #[test]
    fn the_order_of_the_kernel_is_known_however_sockets_come_and_go() {
        let mut sockets = open(4);
        for (slot, id) in [(2, WorkerId(3)), (3, WorkerId(4))] {
            sockets.give_up(slot, id);
        }
        // Their successors stand behind them, and they stop in the other order.
        for slot in [2, 3] {
            sockets.lend(slot).expect("another socket");
        }
        assert!(sockets.stop_emptied_by(WorkerId(4)) && sockets.stop_emptied_by(WorkerId(3)));
        for slot in 0..4 {
            let serving = BTreeSet::from([slot]);
            sockets.steer(Some(&serving)).expect("steered");
            let got = knock(&mut sockets, 4);
            assert_eq!(got[usize::from(slot)], 40, "slot {slot}: {got:?}");
        }
    }
}
