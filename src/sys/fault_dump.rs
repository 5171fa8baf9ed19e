//! What the `faulthandler` of Python tells of the threads of an interpreter when none of them may run Python: it writes from a signal
//! handler, without the interpreter's lock, into a file in memory.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, raise, sigaction, sigprocmask,
};

/// The signal on which `faulthandler` writes where the process is not to die: one that neither the kernel nor anybody else sends.
pub const SIGNAL: Signal = Signal::SIGSTKFLT;

/// So much of such a file is read; what comes after that is of no use any more.
const READ_MAX: usize = 256 << 10;

/// An empty file in memory (`memfd_create(2)`), closed on exec.
///
/// # Errors
/// No memory, or a system without such files.
pub fn file() -> io::Result<File> {
    let file = memfd_create("destrier-fault-dump", MFdFlags::MFD_CLOEXEC)?;
    Ok(File::from(file))
}

/// What was written into `file`, from its start.
///
/// # Errors
/// pread(2).
pub fn read(file: &File) -> io::Result<String> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(READ_MAX);
    let mut bytes = vec![0; length.min(READ_MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What all threads of the interpreter in this process do now, written into `file` by `faulthandler`, which was told to do so on
/// [`SIGNAL`]. None where it is not, or is not any more. Called on a thread that lives for this only: the signal is not blocked on it
/// any more.
///
/// # Errors
/// sigaction(2), raise(3); the file cannot be read.
pub fn of_this_process(mut file: &File) -> io::Result<Option<String>> {
    // Whoever has taken the handler away has given the signal its default action, which is the end of the process.
    if !is_handled()? {
        return Ok(None);
    }
    let ours: SigSet = [SIGNAL].into_iter().collect();
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&ours), None)?;
    file.set_len(0)?;
    file.rewind()?;
    // On this thread, before it returns (raise(3)): no other is disturbed.
    raise(SIGNAL)?;
    let written = read(file)?;
    file.set_len(0)?;
    file.rewind()?;
    Ok(Some(written))
}

fn is_handled() -> nix::Result<bool> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of this process, and is in force for moments.
    let before = unsafe { sigaction(SIGNAL, &default) }?;
    // SAFETY: it was in force before.
    unsafe { sigaction(SIGNAL, &before) }?;
    Ok(matches!(
        before.handler(),
        SigHandler::Handler(_) | SigHandler::SigAction(_)
    ))
}

/// A thread in such a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpedThread<'a> {
    /// `threading.get_ident`.
    pub ident: u64,
    /// It is the one on which the signal arrived.
    pub is_current: bool,
    /// Its first line, and the calls that it is in, the last one first.
    pub text: &'a str,
}

/// The threads that a text tells of.
pub fn threads(dump: &str) -> impl Iterator<Item = DumpedThread<'_>> {
    dump.split("\n\n").filter_map(|text| {
        let text = text.trim_matches('\n');
        let (is_current, rest) = match text.strip_prefix("Current thread 0x") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("Thread 0x")?),
        };
        let digits = rest.split(|byte: char| !byte.is_ascii_hexdigit()).next();
        Some(DumpedThread {
            ident: u64::from_str_radix(digits?, 16).ok()?,
            is_current,
            text,
        })
    })
}

/// The text in the order in which it is read: what happened, the thread to which it happened, the others; at most so many bytes
/// of it, in whole lines. What has been written before, by children that had this file too, is left out.
pub fn arranged(dump: &str, most: usize) -> String {
    let last = dump.rfind("Fatal Python error").unwrap_or(0);
    let dump = dump.get(last..).unwrap_or(dump);
    let what = dump.split("\n\n").next().unwrap_or_default();
    let mut threads: Vec<_> = threads(dump).collect();
    threads.sort_by_key(|thread| !thread.is_current);
    let what = Some(what).filter(|what| what.starts_with("Fatal"));
    let parts: Vec<&str> = what
        .into_iter()
        .chain(threads.iter().map(|thread| thread.text))
        .collect();
    cut(&parts.join("\n\n"), most).to_owned()
}

/// The start of a text, in whole lines.
pub fn cut(text: &str, most: usize) -> &str {
    let start = text.get(..text.floor_char_boundary(most)).unwrap_or(text);
    let start = if start.len() < text.len() {
        start
            .get(..start.rfind('\n').unwrap_or(0))
            .unwrap_or_default()
    } else {
        start
    };
    start.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "\
Fatal Python error: Aborted

Current thread 0x00000000000000bb (most recent call first):
  File \"other.py\", line 3 in f

Fatal Python error: Segmentation fault

Thread 0x00007f00000000aa (most recent call first):
  File \"app.py\", line 7 in wait
  File \"app.py\", line 9 in application

Current thread 0x00007f00000000bb [destrier-1] (most recent call first):
  File \"ctypes.py\", line 1 in string_at

Extension modules: a, b (total: 2)
";

    #[test]
    fn the_thread_to_which_it_happened_comes_first() {
        let text = arranged(DUMP, 10_000);
        assert_eq!(
            text,
            "Fatal Python error: Segmentation fault\n\n\
             Current thread 0x00007f00000000bb [destrier-1] (most recent call first):\n  File \"ctypes.py\", line 1 in string_at\n\n\
             Thread 0x00007f00000000aa (most recent call first):\n  File \"app.py\", line 7 in wait\n  File \"app.py\", line 9 in application"
        );
        assert_eq!(arranged(DUMP, 60), "Fatal Python error: Segmentation fault");
        assert_eq!(arranged("", 60), "");
    }

    #[test]
    fn a_thread_is_found_by_its_number() {
        let found = threads(DUMP).find(|thread| thread.ident == 0x7f00_0000_00aa);
        let text = found.unwrap().text;
        assert!(text.ends_with("line 9 in application"), "{text}");
    }

    #[test]
    fn nothing_is_asked_of_a_process_that_would_die_of_it() {
        let file = file().unwrap();
        assert_eq!(of_this_process(&file).unwrap(), None);
    }
}
