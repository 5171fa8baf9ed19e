//! The system, typed: the only module with `unsafe`. It decides nothing.
#![expect(unsafe_code, reason = "system calls live here and nowhere else")]

pub mod clock;
pub mod memory;
