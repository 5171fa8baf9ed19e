//! Which descriptors this process has.

use std::io;
use std::os::fd::RawFd;

/// The numbers of all, in no order; the folder they are read from is one of them, which is not open any more.
///
/// # Errors
/// There is no `/proc`.
pub(super) fn open_numbers() -> io::Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.collect())
}
