//! Lines on their way to a place that takes what it can at once: whole, in order, bounded, and those that are lost are counted.

use std::collections::VecDeque;
use std::io;

use crate::sys::output::Output;

/// Bytes that wait for a reader who does not read; lines after them are counted and lost.
const WAITING_MAX: usize = 256 * 1024;

/// Where lines go, and those that did not get there yet.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) output: Output,
    /// Whole lines that are written at once; its memory is used again.
    batch: Vec<u8>,
    batch_lines: u64,
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    lost: u64,
    /// Why the last write failed, until one does not.
    failure: Option<io::Error>,
    /// A part of a line was written, and its rest was lost.
    is_torn: bool,
}

/// What is written at once.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    /// So many are lost if it is.
    lines: u64,
    /// A part of a line stands before what is left of it.
    is_begun: bool,
}

impl Queue {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            batch: Vec::new(),
            batch_lines: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            lost: 0,
            failure: None,
            is_torn: false,
        }
    }

    /// Takes the line that `write` appends, which stands for so many. It is written with others: at the next [`Self::flush`], or when they
    /// are as much as may be written at once.
    pub(super) fn push(&mut self, lines: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.batch.len();
        write(&mut self.batch);
        if start > 0 && self.batch.len() > self.output.whole() {
            self.send(start);
        }
        self.batch_lines += lines;
    }

    /// Writes what can be written. Returns whether something waits.
    pub(super) fn flush(&mut self) -> bool {
        if self.batch.is_empty() {
            self.send_waiting();
        } else {
            self.send(self.batch.len());
        }
        !self.waiting.is_empty()
    }

    /// Whether a line that is pushed now may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes < WAITING_MAX
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// How many were lost, once.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    pub(super) fn add_lost(&mut self, lines: u64) {
        self.lost += lines;
    }

    /// Why lines are lost just now.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Gives up what waits: nobody reads it where it would go.
    pub(super) fn abandon(&mut self) -> u64 {
        let waiting: u64 = self.waiting.iter().map(|piece| piece.lines).sum();
        let all = waiting + self.batch_lines + self.lost;
        self.forget();
        all
    }

    /// In a forked child: all of it is the parent's.
    pub(super) fn forget(&mut self) {
        self.batch.clear();
        self.batch_lines = 0;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.lost = 0;
        self.is_torn = false;
    }

    /// What waits, the first one perhaps only in part.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &[u8]> {
        self.waiting.iter().map(|piece| &*piece.bytes)
    }

    /// Puts a line before all that waits.
    pub(super) fn put_first(&mut self, bytes: Vec<u8>) {
        self.waiting_bytes += bytes.len();
        self.waiting.push_front(Piece {
            bytes,
            lines: 1,
            is_begun: false,
        });
    }

    /// Sends the first bytes of the batch, which are whole lines.
    fn send(&mut self, end: usize) {
        self.send_waiting();
        // Until its line break is written, or waits to be.
        let follows_torn = std::mem::take(&mut self.is_torn);
        if follows_torn {
            self.batch.insert(0, b'\n');
        }
        let end = end + usize::from(follows_torn);
        let lines = std::mem::take(&mut self.batch_lines);
        let bytes = self.batch.get(..end).unwrap_or_default();
        // What waits comes first.
        let sent = if self.waiting.is_empty() {
            write(&mut self.output, bytes)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        };
        match sent {
            Ok(sent) if sent == bytes.len() => self.failure = None,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.lost += lines;
                self.is_torn = follows_torn;
                self.failure = Some(error);
            }
            Err(_) if !self.has_room() => {
                self.lost += lines;
                self.is_torn = follows_torn;
            }
            Ok(_) | Err(_) => {
                let sent = sent.unwrap_or_default();
                let rest = bytes.get(sent..).unwrap_or_default().to_vec();
                self.waiting_bytes += rest.len();
                self.waiting.push_back(Piece {
                    bytes: rest,
                    lines,
                    is_begun: sent > 0 || follows_torn,
                });
                if sent > 0 {
                    // The reason why it was not all.
                    self.batch.drain(..end);
                    return self.send_waiting();
                }
            }
        }
        if end == self.batch.len() {
            self.batch.clear();
        } else {
            self.batch.drain(..end);
        }
    }

    fn send_waiting(&mut self) {
        while let Some(piece) = self.waiting.front_mut() {
            match write(&mut self.output, &piece.bytes) {
                Ok(sent) if sent < piece.bytes.len() => {
                    piece.bytes.drain(..sent);
                    piece.is_begun = true;
                    self.waiting_bytes -= sent;
                    continue;
                }
                Ok(_) => self.failure = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Refused for good: the disk is full, the reader is gone.
                Err(error) => {
                    self.lost += piece.lines;
                    self.is_torn |= piece.is_begun;
                    self.failure = Some(error);
                }
            }
            self.waiting_bytes -= piece.bytes.len();
            self.waiting.pop_front();
        }
    }
}

fn write(output: &mut Output, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match output.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Nothing can be written there at all.
            Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
            written => return written,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use proptest::prelude::*;

    use super::*;

    /// A queue into a pipe that does not block, and its reader.
    fn pipe() -> (Queue, File) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        for end in [&reader, &writer] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        }
        let output = Output::Stream(File::from(writer));
        (Queue::new(output), File::from(reader))
    }

    fn push(queue: &mut Queue, line: &str) {
        queue.push(1, |buffer| {
            buffer.extend_from_slice(line.as_bytes());
            buffer.push(b'\n');
        });
    }

    fn read(reader: &mut File) -> String {
        let mut read = Vec::new();
        let _would_block = reader.read_to_end(&mut read);
        String::from_utf8(read).unwrap()
    }

    #[test]
    fn lines_are_written_together_when_it_is_time_or_when_they_are_many() {
        let (mut queue, mut reader) = pipe();
        for number in 0..3 {
            push(&mut queue, &format!("line {number}"));
        }
        assert_eq!(read(&mut reader), "");
        assert!(!queue.flush());
        assert_eq!(read(&mut reader), "line 0\nline 1\nline 2\n");
        let long = "x".repeat(1500);
        for _ in 0..3 {
            push(&mut queue, &long);
        }
        // No more than two fit into what a pipe takes whole.
        assert_eq!(read(&mut reader), format!("{long}\n{long}\n"));
    }

    #[test]
    fn a_full_pipe_loses_what_there_is_no_room_for_and_counts_it() {
        let (mut queue, mut reader) = pipe();
        let line = "x".repeat(999);
        for _ in 0..1000 {
            push(&mut queue, &line);
        }
        assert!(queue.flush(), "some wait");
        let lost = queue.take_lost();
        assert!((600..750).contains(&lost), "{lost}");
        let mut got = String::new();
        while queue.flush() {
            got += &read(&mut reader);
        }
        got += &read(&mut reader);
        assert_eq!(got.lines().count() as u64 + lost, 1000);
        assert!(got.lines().all(|got| got == line));
    }

    #[test]
    fn a_place_that_refuses_is_noted_and_is_good_again_when_it_takes_a_line() {
        let (mut queue, reader) = pipe();
        drop(reader);
        push(&mut queue, "lost");
        queue.flush();
        assert_eq!(queue.lost(), 1);
        assert_eq!(queue.failure().unwrap().kind(), io::ErrorKind::BrokenPipe);
        let (new, mut reader) = pipe();
        queue.output = new.output;
        push(&mut queue, "told");
        queue.flush();
        assert!(queue.failure().is_none());
        assert_eq!((read(&mut reader).as_str(), queue.lost()), ("told\n", 1));
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let output = Output::file("/dev/full".as_ref()).unwrap();
        let mut queue = Queue::new(output);
        push(&mut queue, "lost");
        queue.flush();
        assert_eq!(queue.lost(), 1);
        assert_eq!(queue.failure().unwrap().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn the_line_after_one_that_was_torn_begins_anew() {
        let (mut queue, mut reader) = pipe();
        queue.is_torn = true;
        push(&mut queue, "whole");
        queue.flush();
        assert_eq!(read(&mut reader), "\nwhole\n");
    }

    #[test]
    fn a_torn_line_is_not_forgotten_while_others_are_lost_after_it() {
        for is_full in [false, true] {
            let (mut queue, reader) = pipe();
            queue.is_torn = true;
            if is_full {
                queue.waiting_bytes = WAITING_MAX;
                while write(&mut queue.output, &[0; 4096]).is_ok() {}
            }
            let reader = is_full.then_some(reader);
            push(&mut queue, "lost");
            queue.flush();
            assert_eq!(queue.lost(), 1);
            drop(reader);
            let (new, mut reader) = pipe();
            queue.output = new.output;
            push(&mut queue, "whole");
            queue.flush();
            assert_eq!(read(&mut reader), "\nwhole\n", "{is_full}");
        }
    }

    #[test]
    fn a_line_that_waited_after_a_torn_one_and_was_lost_leaves_it_torn() {
        let (mut queue, reader) = pipe();
        queue.is_torn = true;
        while write(&mut queue.output, &[0; 4096]).is_ok() {}
        push(&mut queue, "lost");
        assert!(queue.flush(), "it waits");
        drop(reader);
        assert!(!queue.flush());
        assert_eq!(queue.lost(), 1);
        let (new, mut reader) = pipe();
        queue.output = new.output;
        push(&mut queue, "whole");
        queue.flush();
        assert_eq!(read(&mut reader), "\nwhole\n");
    }

    proptest! {
        #[test]
        fn every_line_is_written_whole_or_counted(
            lengths in prop::collection::vec(0..3000_usize, 1..300),
            reads in prop::collection::vec(any::<bool>(), 300),
        ) {
            let (mut queue, mut reader) = pipe();
            let mut got = String::new();
            for (length, reads) in lengths.iter().zip(reads) {
                push(&mut queue, &"x".repeat(*length));
                if reads {
                    queue.flush();
                    got += &read(&mut reader);
                }
            }
            while queue.flush() {
                got += &read(&mut reader);
            }
            got += &read(&mut reader);
            prop_assert_eq!(got.lines().count() as u64 + queue.lost(), lengths.len() as u64);
            let mut left = lengths.iter();
            prop_assert!(got.lines().all(|line| left.any(|length| *length == line.len())), "in order");
        }
    }
}
