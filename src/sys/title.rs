//! What `ps` shows of this process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

/// Puts `title` in the place of the last argument of this process, as `ps` shows it: as much of it as there is room for. Whoever wants
/// more makes that argument longer before.
///
/// # Errors
/// No /proc, or one that lets nobody write.
pub fn set(title: &str) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // `arg_end`, proc_pid_stat(5): the 49th field, of which the name of the program, in parentheses, may have spaces in it.
    let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    let end = fields.split_whitespace().nth(49 - 3);
    let end: u64 = end
        .and_then(|field| field.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let arguments = fs::read("/proc/self/cmdline")?;
    let arguments = arguments.strip_suffix(&[0]).unwrap_or(&arguments);
    let last = arguments.rsplit(|byte| *byte == 0).next();
    let room = last.map_or(0, <[u8]>::len);
    let mut text = vec![b' '; room];
    for (place, byte) in text.iter_mut().zip(title.bytes()) {
        *place = byte;
    }
    let start = u64::try_from(room)
        .ok()
        .and_then(|room| end.checked_sub(room + 1));
    let start = start.ok_or(io::ErrorKind::InvalidData)?;
    let memory = File::options().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&text, start)
}
