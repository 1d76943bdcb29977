//! What is seen of the flow while it runs: a view that moves on a terminal, a plain line now and then elsewhere.

use std::io::{self, IsTerminal, Stderr};
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Gauge, Paragraph, Row, Table};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use crate::domain::time::EventTime;
use crate::observe::metrics::Totals;

use super::report::clock;
use super::watch::Suspect;

const HEIGHT: u16 = 17;
const SUSPECTS_SHOWN: usize = 8;
const DRAW_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(3);

/// One look at the flow.
pub(super) struct Look<'a> {
    pub(super) title: &'a str,
    pub(super) totals: Totals,
    /// Written to the broker and not read yet.
    pub(super) lag: u64,
    pub(super) rate: f64,
    pub(super) messages: u64,
    /// When the simulation begins.
    pub(super) start: EventTime,
    pub(super) watermark: Option<EventTime>,
    pub(super) suspects: Vec<&'a Suspect>,
}

/// Where it is shown.
pub(super) enum View {
    Live { terminal: Box<Terminal<CrosstermBackend<Stderr>>>, drawn: Option<Instant> },
    Lines { told: Instant },
    Nothing,
}

impl View {
    pub(super) fn open(is_quiet: bool) -> View {
        if is_quiet {
            return View::Nothing;
        }
        let lines = View::Lines { told: Instant::now() };
        if !io::stderr().is_terminal() {
            return lines;
        }
        let options = TerminalOptions { viewport: Viewport::Inline(HEIGHT) };
        // A terminal that cannot say where its cursor is still takes lines.
        Terminal::with_options(CrosstermBackend::new(io::stderr()), options)
            .map_or(lines, |terminal| View::Live { terminal: Box::new(terminal), drawn: None })
    }

    pub(super) fn show(&mut self, look: &Look<'_>) {
        match self {
            View::Live { terminal, drawn } => {
                if drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY) {
                    *drawn = Some(Instant::now());
                    // A view that cannot be drawn is no reason to end what it shows.
                    let _ = terminal.draw(|frame| draw(frame, look));
                }
            }
            View::Lines { told } if told.elapsed() >= LINE_EVERY => {
                *told = Instant::now();
                eprintln!("{}", look.line());
            }
            View::Lines { .. } | View::Nothing => {}
        }
    }

    /// Leaves the last picture where it is, and the cursor below it.
    pub(super) fn close(self) {
        if let View::Live { mut terminal, .. } = self {
            let below = terminal.get_frame().area().bottom().saturating_sub(1);
            let _ = terminal.set_cursor_position((0, below));
            let _ = terminal.show_cursor();
            eprintln!();
        }
    }
}

impl Look<'_> {
    fn watermark(&self) -> String {
        self.watermark.map_or_else(|| "-".to_owned(), |watermark| clock(watermark.0 - self.start.0))
    }

    fn share(&self) -> f64 {
        // For the eye: that large counts lose their last digits does not show.
        if self.messages == 0 { 1.0 } else { (self.totals.records as f64 / self.messages as f64).min(1.0) }
    }

    fn line(&self) -> String {
        format!(
            "{:3.0} %, {} events, {} events/s, lag {}, watermark {}, {} windows, {} anomalies of {} devices",
            100.0 * self.share(),
            HumanCount(self.totals.records),
            HumanCount(self.rate as u64),
            HumanCount(self.lag),
            self.watermark(),
            HumanCount(self.totals.windows),
            HumanCount(self.totals.anomalies),
            self.suspects.len(),
        )
    }
}

fn draw(frame: &mut Frame<'_>, look: &Look<'_>) {
    let block = Block::bordered().border_type(BorderType::Rounded).title(format!(" {} ", look.title));
    let inner = block.inner(frame.area());
    frame.render_widget(block, frame.area());
    let [progress, numbers, gap, table] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Min(SUSPECTS_SHOWN as u16 + 1),
    ])
    .areas(inner);
    let gauge = Gauge::default().ratio(look.share()).gauge_style(Style::new().fg(Color::Cyan).bg(Color::Black));
    frame.render_widget(
        gauge.label(format!("{:.0} % of {}", 100.0 * look.share(), HumanCount(look.messages))),
        progress,
    );
    frame.render_widget(Paragraph::new(numbers_of(look)), numbers);
    let heading = format!("devices that misbehave: {}", look.suspects.len());
    frame.render_widget(Paragraph::new(heading).style(Style::new().add_modifier(Modifier::BOLD)), gap);
    frame.render_widget(suspects(look), table);
}

fn numbers_of(look: &Look<'_>) -> Vec<Line<'static>> {
    let totals = look.totals;
    let pair = |what: &'static str, value: String, color: Color| {
        [
            Span::styled(format!("{what} "), Style::new().fg(Color::DarkGray)),
            Span::styled(format!("{value:<14}"), color),
        ]
    };
    let count = |number: u64| HumanCount(number).to_string();
    let line = |pairs: [[Span<'static>; 2]; 3]| Line::from(pairs.into_iter().flatten().collect::<Vec<_>>());
    let found = if totals.anomalies > 0 { Color::Red } else { Color::Green };
    vec![
        line([
            pair("events/s   ", count(look.rate as u64), Color::White),
            pair("lag        ", count(look.lag), Color::White),
            pair("watermark  ", look.watermark(), Color::White),
        ]),
        line([
            pair("events     ", count(totals.accepted), Color::White),
            pair("too late   ", count(totals.too_late), Color::White),
            pair("quarantined", count(totals.quarantined), Color::White),
        ]),
        line([
            pair("windows    ", count(totals.windows), Color::White),
            pair("scores     ", count(totals.scored), Color::White),
            pair("anomalies  ", count(totals.anomalies), found),
        ]),
    ]
}

fn suspects(look: &Look<'_>) -> Table<'static> {
    let shown = |time: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(time).ok();
        time.map_or_else(String::new, |time| clock(time.timestamp_micros() - look.start.0))
    };
    let row = |suspect: &&Suspect| {
        Row::new([
            suspect.device.clone(),
            shown(&suspect.since),
            shown(&suspect.last),
            suspect.windows.to_string(),
            format!("{:.1}x", suspect.worst),
            suspect.feature.clone(),
        ])
    };
    let rows: Vec<Row<'_>> = look.suspects.iter().take(SUSPECTS_SHOWN).map(row).collect();
    let heading = Row::new(["device", "since", "last", "windows", "score", "because of"]);
    let widths = [18, 10, 10, 8, 9, 20].map(Constraint::Length);
    Table::new(rows, widths).header(heading.style(Style::new().fg(Color::DarkGray)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    #[test]
    fn the_view_shows_the_flow_and_who_misbehaves() {
        let suspect = Suspect {
            device: "pump-0003".to_owned(),
            since: "2026-01-01T00:10:00.000000Z".to_owned(),
            last: "2026-01-01T00:10:30.000000Z".to_owned(),
            windows: 4,
            worst: 7.25,
            feature: "vibration_mean".to_owned(),
        };
        let totals = Totals { records: 500, accepted: 498, windows: 50, scored: 50, anomalies: 4, ..Totals::default() };
        let look = Look {
            title: "Tidewatch",
            totals,
            lag: 20,
            rate: 1234.0,
            messages: 1000,
            start: EventTime(1_767_225_600_000_000),
            watermark: Some(EventTime(1_767_225_600_000_000 + 640_000_000)),
            suspects: vec![&suspect],
        };
        let mut terminal = Terminal::new(TestBackend::new(90, HEIGHT)).unwrap();
        terminal.draw(|frame| draw(frame, &look)).unwrap();
        let shown = terminal.backend().to_string();
        for word in ["50 % of 1,000", "1,234", "0:10:40", "pump-0003", "0:10:30", "7.2x", "vibration_mean"] {
            assert!(shown.contains(word), "{word} is missing from\n{shown}");
        }
        assert!(look.line().starts_with(" 50 %, 500 events, 1,234 events/s, lag 20, watermark 0:10:40, 50 windows"));
    }
}
