//! The `destrier` program: the library with the demo application.

use std::process::ExitCode;

fn main() -> ExitCode {
    destrier::Server::new(destrier::app::demo::boot).run()
}
