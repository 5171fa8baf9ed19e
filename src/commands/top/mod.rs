//! `destrier top`: what runs now, live in a terminal, from the control socket: whoever may use that may look, and reload.

mod screen;
mod view;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{CommandError, ExitCode};
use crate::cli::MasterArgs;
use crate::master::Status;
use crate::master::control::{self, Answer, Request};
use crate::sys::clock;
use crate::sys::poll::{self, Interest};
use crate::sys::signals::Signals;
use view::View;

/// So often the master is asked.
const EVERY: Duration = Duration::from_secs(1);

/// A master that says nothing for so long is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A terminal that is ready so often without saying anything has gone.
const NOTHING_MAX: u32 = 64;

/// Shows it until told to end.
pub(super) fn run(master: &MasterArgs) -> Result<ExitCode, CommandError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CommandError::usage(
            "`destrier top` needs a terminal\nhint: `destrier status`, also with `--watch` or `--json`, needs none",
        ));
    }
    // Before the screen changes: what is wrong is said where it can be read.
    let first = super::status::ask(master)?;
    let failed =
        |error: &dyn std::fmt::Display| CommandError::failure(format!("terminal: {error}"));
    // Whatever ends it, the terminal is as it was: a signal is read as a key is, and of a panic ratatui takes care.
    let signals = Signals::take_over().map_err(|error| failed(&error))?;
    let mut terminal = ratatui::try_init().map_err(|error| failed(&error))?;
    let shown = Top::new(first).show(&mut terminal, &signals);
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(|error| failed(&error))?;
    Ok(ExitCode::Success)
}

/// What goes on.
struct Top {
    socket: String,
    view: View,
    /// What came of a reload.
    outcomes: (Sender<String>, Receiver<String>),
    next: Duration,
}

impl Top {
    fn new(first: Status) -> Self {
        let now = clock::monotonic();
        let socket = first.control_socket.clone();
        let mut view = View::default();
        view.take_in(first, now);
        view.unix = clock::unix().as_secs_f64();
        Self {
            socket,
            view,
            outcomes: mpsc::channel(),
            next: now + EVERY,
        }
    }

    fn show(mut self, terminal: &mut DefaultTerminal, signals: &Signals) -> io::Result<()> {
        let mut nothing = 0;
        loop {
            self.look();
            while let Ok(outcome) = self.outcomes.1.try_recv() {
                self.view.message = Some(outcome);
            }
            terminal.draw(|frame| screen::draw(frame, &self.view))?;
            let wait = self.next.saturating_sub(clock::monotonic());
            let stdin = io::stdin();
            let sources = [
                (stdin.as_fd(), Interest::Read),
                (signals.descriptor(), Interest::Read),
            ];
            let ready = poll::wait(&sources, Some(wait))?;
            while let Some(signal) = signals.next() {
                match signal.as_str() {
                    "SIGTERM" | "SIGINT" | "SIGQUIT" | "SIGHUP" => return Ok(()),
                    // Others may have written to the terminal meanwhile.
                    "SIGCONT" => terminal.clear()?,
                    _ => {}
                }
            }
            nothing = if ready.contains(&0) { nothing + 1 } else { 0 };
            while event::poll(Duration::ZERO)? {
                nothing = 0;
                if let Event::Key(key) = event::read()?
                    && key.kind == KeyEventKind::Press
                    && self.press(key)
                {
                    return Ok(());
                }
            }
            if nothing > NOTHING_MAX {
                return Ok(());
            }
        }
    }

    /// Asks the master, where that is due.
    fn look(&mut self) {
        let now = clock::monotonic();
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        let answer = control::ask_within(
            Path::new(&self.socket),
            &Request::Status {},
            Some(ANSWER_MAX),
        );
        match answer {
            Ok(Answer::Status(status)) => {
                self.view.take_in(*status, clock::monotonic());
                self.view.unix = clock::unix().as_secs_f64();
            }
            Ok(Answer::Done(_) | Answer::Failed(_) | Answer::Plan(_) | Answer::Stacks(_)) => {
                self.view.problem = Some(super::ask::SOMETHING_ELSE.to_owned());
            }
            Err(error) => self.view.problem = Some(error.to_string()),
        }
    }

    /// Does what a key means; whether that is the end.
    fn press(&mut self, key: KeyEvent) -> bool {
        let is_interrupt =
            key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_interrupt {
            return true;
        }
        if std::mem::take(&mut self.view.asks_for_reload) {
            if key.code == KeyCode::Char('y') {
                self.reload();
            }
            return false;
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "other keys have no meaning here"
        )]
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('r') => self.view.asks_for_reload = true,
            KeyCode::Char('s') => self.view.sort = self.view.sort.next(),
            _ => {}
        }
        false
    }

    /// Beside the rest, for it takes as long as the application takes to boot.
    fn reload(&mut self) {
        self.view.message = Some("reload is asked for".to_owned());
        let (socket, outcome) = (self.socket.clone(), self.outcomes.0.clone());
        std::thread::spawn(move || {
            let said = match control::ask(Path::new(&socket), &Request::Reload {}) {
                Ok(Answer::Done(done)) => done,
                Ok(Answer::Failed(reason)) => format!("reload failed: {reason}"),
                Ok(Answer::Status(_) | Answer::Plan(_) | Answer::Stacks(_)) => {
                    super::ask::SOMETHING_ELSE.to_owned()
                }
                Err(error) => format!("reload failed: {error}"),
            };
            // It may have ended meanwhile.
            outcome.send(said).unwrap_or_default();
        });
    }
}
