//! The system, typed: the only module with `unsafe`. It decides nothing.
#![expect(unsafe_code, reason = "system calls live here and nowhere else")]

pub mod adoption;
pub mod child;
pub mod clock;
pub mod crash;
mod descriptors;
pub mod event_poll;
pub mod executor;
pub mod fault_dump;
pub mod file;
pub mod handover;
pub mod identity;
pub mod listener;
pub mod machine;
pub mod memory;
pub mod output;
pub mod poll;
pub mod process;
pub mod process_memory;
pub mod process_stat;
pub mod readiness;
pub mod signals;
pub mod socket;
pub mod systemd;
pub mod thread;
pub mod title;
pub mod wakeup;
pub mod watch;
