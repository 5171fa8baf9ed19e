//! How `destrier top` looks, from 80 columns and 24 lines on. What comes from clients is text: ratatui leaves control characters out.

use bytesize::ByteSize;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row as TableRow, Sparkline, Table};

use super::view::{Row, View};
use crate::commands::status::span;
use crate::master::{EventStatus, Status};

/// From so many columns on the slot and the generation of a worker have room.
const WIDE: u16 = 100;

/// Lines for what has happened, its title among them, however many workers there are.
const EVENTS_MIN: u16 = 5;

pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let Some(status) = &view.status else {
        return;
    };
    let workers = u16::try_from(status.workers.len()).unwrap_or(u16::MAX);
    let lines = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Max(workers.saturating_add(1)),
        Constraint::Length(1),
        Constraint::Min(EVENTS_MIN),
        Constraint::Length(1),
    ]);
    let [head, plot, _, table, _, events, foot] = lines.areas(frame.area());
    frame.render_widget(Paragraph::new(header(view, status)), head);
    draw_plot(frame, view, plot);
    draw_workers(frame, view, table);
    draw_events(frame, view, events);
    frame.render_widget(Paragraph::new(footer(view)), foot);
}

fn header<'a>(view: &'a View, status: &'a Status) -> Vec<Line<'a>> {
    let generation = match (status.generation, status.generation_age) {
        (Some(generation), Some(age)) => format!("generation {generation} for {}", brief(age)),
        (Some(generation), None) => format!("generation {generation}"),
        (None, _) => "no generation serves yet".to_owned(),
    };
    let accepting = status.workers.iter();
    let accepting = accepting
        .filter(|worker| worker.state == "accepting")
        .count();
    let first = Line::from(vec![
        Span::from(format!("destrier {} ", status.version)).bold(),
        Span::styled(
            format!(" {} ", status.state),
            tone(&status.state).reversed(),
        ),
        Span::from(format!(
            "  pid {}, up {}; {generation}; {accepting} of {} workers",
            status.pid,
            brief(status.uptime),
            status.workers_wanted
        )),
    ]);
    let second = match &view.problem {
        Some(problem) => Line::from(problem.as_str()).style(Color::Red),
        None => Line::from(super::super::status::config(status)).style(Modifier::DIM),
    };
    let figures = &view.figures;
    let in_flight: u64 = status.workers.iter().map(|worker| worker.in_flight).sum();
    let queued: u64 = status.workers.iter().map(|worker| worker.queued).sum();
    let failed = figures.error_ratio.is_some_and(|ratio| ratio > 0.0);
    let errors = figures
        .error_ratio
        .map(|ratio| format!("{:.1} %", ratio * 100.0));
    let value = |text: Option<String>| Span::from(text.unwrap_or_else(|| "-".to_owned())).bold();
    let rate = figures.requests_per_second.map(|rate| format!("{rate:.1}"));
    let errors = value(errors);
    let third = Line::from(vec![
        Span::from("requests/s "),
        value(rate),
        Span::from("  half within "),
        value(figures.p50.map(short)),
        Span::from("  99 % within "),
        value(figures.p99.map(short)),
        Span::from("  errors "),
        if failed {
            errors.fg(Color::Red)
        } else {
            errors
        },
        Span::from("  in flight "),
        value(Some(in_flight.to_string())),
        Span::from("  queued "),
        value(Some(queued.to_string())),
    ]);
    vec![first, second, third]
}

fn draw_plot(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let room = usize::from(area.width);
    let beyond = view.history.len().saturating_sub(room);
    let shown: Vec<u64> = view.history.iter().skip(beyond).copied().collect();
    let plot = Sparkline::default().data(shown).style(Color::Cyan);
    frame.render_widget(plot, area);
}

fn draw_workers(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let is_wide = area.width >= WIDE;
    let mut titles = vec!["WORKER", "STATE", "PID"];
    let mut widths = vec![6, 9, 7];
    if is_wide {
        titles.extend(["SLOT", "GEN"]);
        widths.extend([4, 4]);
    }
    titles.extend(["UP", "REQ/S", "REQUESTS", "MEMORY", "BUSY"]);
    widths.extend([5, 7, 9, 8, 4]);
    let header = titles.iter().zip(&widths).map(|(title, width)| {
        // Words stand on the left, numbers on the right.
        let width = usize::from(*width);
        if *title == "STATE" {
            (*title).to_owned()
        } else {
            format!("{title:>width$}")
        }
    });
    let header = TableRow::new(header.chain(["OLDEST REQUEST".to_owned()]));
    let rows = view.rows();
    let rows = rows.iter().map(|row| table_row(row, is_wide, &widths));
    let constraints = widths.iter().map(|width| Constraint::Length(*width));
    let table = Table::new(rows, constraints.chain([Constraint::Fill(1)]))
        .header(header.style(Modifier::BOLD | Modifier::REVERSED))
        .column_spacing(1);
    frame.render_widget(table, area);
}

fn table_row<'a>(row: &Row<'_>, is_wide: bool, widths: &[u16]) -> TableRow<'a> {
    let worker = row.worker;
    let memory = worker.memory.as_ref().map_or_else(String::new, |memory| {
        ByteSize(memory.rss).display().iec_short().to_string()
    });
    let mut cells = vec![
        worker.worker.to_string(),
        worker.state.clone(),
        worker.pid.to_string(),
    ];
    if is_wide {
        cells.extend([worker.slot.to_string(), worker.generation.to_string()]);
    }
    cells.extend([
        brief(worker.uptime),
        row.rate
            .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
        worker.requests.to_string(),
        memory,
        worker.in_flight.saturating_sub(worker.queued).to_string(),
    ]);
    let style = tone(&worker.state);
    let spans = cells.into_iter().zip(widths).enumerate();
    let spans = spans.map(|(index, (text, width))| {
        let width = usize::from(*width);
        if index == 1 {
            Span::styled(text, style)
        } else {
            Span::from(format!("{text:>width$}"))
        }
    });
    let oldest = worker.requests_in_flight.first();
    let oldest = oldest.map_or_else(String::new, |request| {
        format!("{} {} {}", brief(request.age), request.method, request.path)
    });
    TableRow::new(spans.chain([Span::from(oldest)]))
}

fn draw_events(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let title = Line::from("WHAT HAS HAPPENED").style(Modifier::BOLD | Modifier::REVERSED);
    let lines = view.events().iter().map(|event| in_words(event, view.unix));
    let lines: Vec<Line<'_>> = std::iter::once(title).chain(lines).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn in_words<'a>(event: &EventStatus, now: f64) -> Line<'a> {
    let who = match (event.worker, event.slot) {
        (Some(worker), Some(slot)) => format!("worker {worker}, slot {slot}: "),
        (_, _) => String::new(),
    };
    let message = event.message.replace('\n', "; ");
    Line::from(vec![
        Span::from(format!("{:>5} ago ", brief((now - event.at).max(0.0)))).dim(),
        Span::styled(
            format!("{:<15} ", event.kind.replace('_', " ")),
            tone(&event.kind),
        ),
        Span::from(who).dim(),
        Span::from(message),
    ])
}

fn footer(view: &View) -> Line<'_> {
    if view.asks_for_reload {
        return Line::from(
            "Put the configuration on disk into force? y: reload, any other key: no",
        )
        .style(Style::new().fg(Color::Yellow).bold());
    }
    let keys = format!("q quit  r reload  s sort (by {})", view.sort.word());
    let message = view.message.as_ref();
    let message = message.map_or_else(String::new, |message| message.replace('\n', "; "));
    Line::from(vec![
        Span::from(keys).dim(),
        Span::from("  "),
        Span::from(message),
    ])
}

/// Of states and of events.
fn tone(word: &str) -> Style {
    let color = match word {
        "serving" | "accepting" | "started" | "reloaded" | "upgraded" | "recovered" => Color::Green,
        "degraded" | "failed" | "hung" | "killed" | "worker_died" | "reload_failed"
        | "upgrade_failed" => Color::Red,
        "booting" | "ready" | "upgrading" | "reloading" | "scaled" | "worker_replaced" => {
            Color::Yellow
        }
        _ => return Style::new(),
    };
    Style::new().fg(color)
}

/// The largest unit of a time: what matters of an age.
fn brief(seconds: f64) -> String {
    let words = span(seconds);
    words.split(' ').next().unwrap_or_default().to_owned()
}

/// A short time.
fn short(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}
