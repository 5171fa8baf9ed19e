//! The `destrier` program: the library with the demo application.

use std::process::ExitCode;

/// What takes and gives back memory: in fewer instructions than glibc's, and more of it goes back to the system. The extension for Python
/// goes on with glibc's: what one of its threads takes another one gives back, and of such memory mimalloc keeps more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    destrier::Server::new(destrier::app::demo::boot).run()
}
