//! `destrier top` in a real terminal, read through what a terminal makes of it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use insta::assert_snapshot;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::place::Place;
use crate::support::client;
use crate::support::command;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, os};

/// A terminal of 80 columns and 24 lines, with the program in it.
struct Terminal {
    keys: File,
    other_end: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    child: Child,
}

impl Terminal {
    fn open(server: &Server) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        // A session of its own, whose terminal it is: else that of whoever runs the tests would be asked how large it is.
        let mut command: Command = command::command(Path::new("setsid"));
        command
            .arg("--ctty")
            .arg(command::destrier())
            .args(["top", "-c"])
            .arg(server.config.file())
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        let child = command.spawn().unwrap();
        let mut output = File::from(pty.master.try_clone().unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            24.try_into().unwrap(),
            80.try_into().unwrap(),
            0,
        )));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self {
            keys: File::from(pty.master),
            other_end: pty.slave,
            screen,
            child,
        }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    #[track_caller]
    fn until(&self, what: &str) -> String {
        let mut last = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || {
                last = self.text();
                last.contains(what).then_some(())
            });
        }));
        assert!(found.is_ok(), "no {what:?} in\n{last}");
        self.text()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end; the terminal is as it was.
    #[track_caller]
    fn end(&mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        eventually("the screen of before", || {
            let parser = self.screen.lock().unwrap();
            let screen = parser.screen();
            (!screen.alternate_screen() && !screen.hide_cursor()).then_some(())
        });
        let flags = tcgetattr(&self.other_end).unwrap().local_flags;
        assert!(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
        status.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn top_shows_what_runs_and_keys_do_what_they_say() {
    let server = Setup::new().set("app.faults", true).start();
    let waiting = client::get_meanwhile(&server.address(), "/slow?ms=600000");
    server.until_in_flight(1);
    let mut terminal = Terminal::open(&server);
    let text = terminal.until("GET /slow");
    assert!(text.starts_with("destrier 0.1.0"), "{text}");
    assert!(text.contains("generation 1 for"), "{text}");
    assert!(text.contains("in flight 1"), "{text}");
    assert!(text.contains("started"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_snapshot!(lines[7], @"WORKER STATE         PID    UP   REQ/S  REQUESTS   MEMORY BUSY OLDEST REQUEST");
    assert_snapshot!(lines[23], @"q quit  r reload  s sort (by slot)");
    terminal.press("s");
    terminal.until("sort (by requests/s)");
    // A reload is asked for twice, and by nothing else.
    terminal.press("r");
    terminal.until("any other key: no");
    terminal.press("n");
    terminal.until("q quit");
    terminal.press("r");
    terminal.until("any other key: no");
    terminal.press("y");
    terminal.until("generation 2 serves");
    terminal.until("generation 2 for");
    let victim = server.until_workers(2)[0];
    os::kill(victim);
    terminal.until("killed by SIGKILL");
    terminal.press("q");
    assert_eq!(terminal.end(), Some(0));
    server.signal(Signal::SIGQUIT);
    drop(waiting.join());
}

#[test]
fn whatever_ends_top_the_terminal_is_as_it_was() {
    let server = Setup::new().start();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut terminal = Terminal::open(&server);
        terminal.until("q quit");
        os::send(terminal.child.id(), signal);
        assert_eq!(terminal.end(), Some(0), "{signal}");
    }
    let mut terminal = Terminal::open(&server);
    terminal.until("q quit");
    terminal.press("\u{3}");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn top_outlives_a_master_that_is_silent_or_gone() {
    let server = Setup::new().start();
    let mut terminal = Terminal::open(&server);
    terminal.until("q quit");
    os::send(server.pid, Signal::SIGSTOP);
    terminal.until("has not answered");
    os::send(server.pid, Signal::SIGCONT);
    terminal.until("destrier.toml");
    server.signal(Signal::SIGQUIT);
    terminal.until("no master runs");
    terminal.press("q");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn top_without_a_terminal_points_to_what_needs_none() {
    let place = Place::new();
    assert_snapshot!(place.run("top"), @r"
    exit 2
    --- stderr
    `destrier top` needs a terminal
    hint: `destrier status`, also with `--watch` or `--json`, needs none
    ");
}
