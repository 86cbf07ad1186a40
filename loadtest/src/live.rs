//! A run while it goes on: in a terminal a few lines that are written over each second, elsewhere a
//! line now and then.

use std::io::{self, Write};

use console::{Style, Term, is_dumb, truncate_str};

use crate::moment::Moment;
use crate::result::Second;
use crate::units::{NONE, clock, fixed, megabytes, millis};

/// Tells of a run. Whether anybody reads it does not matter to the run.
pub struct Live {
    scenario: String,
    /// How many seconds its phases take, if that is known.
    total: Option<f64>,
    /// How many of them have passed.
    passed: usize,
    /// A terminal whose lines can be written over.
    terminal: Option<Term>,
    /// What stands there now.
    drawn: Vec<String>,
    phase: String,
    /// Seconds of it so far.
    in_phase: usize,
    /// The last seconds.
    recent: Vec<Second>,
    /// Of them those that no line has told of.
    untold: usize,
}

/// What is counted in a second.
type Count = fn(&Second) -> u64;

/// Seconds that the small curves show.
const RECENT: usize = 60;
/// Where there is no terminal a line tells of so many seconds.
const TOLD_TOGETHER: usize = 5;
/// Terminals that do not know their size, and lines that would be hard to read.
const COLUMNS: u16 = 80;
const COLUMNS_MAX: u16 = 100;
/// Before a small curve.
const CURVE_AT: usize = 32;
const CURVE: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Live {
    /// Of a scenario whose phases take so many seconds, if that is known.
    pub fn new(scenario: &str, total: Option<f64>) -> Self {
        let terminal = Term::buffered_stdout();
        let terminal = (terminal.is_term() && !is_dumb()).then_some(terminal);
        Self {
            scenario: scenario.to_owned(),
            total: total.filter(|total| total.is_finite() && *total > 0.0),
            passed: 0,
            terminal,
            drawn: Vec::new(),
            phase: String::new(),
            in_phase: 0,
            recent: Vec::new(),
            untold: 0,
        }
    }

    /// Tells what happened in a second of a phase.
    pub fn second(&mut self, phase: &str, second: &Second) {
        if self.phase != phase {
            self.tell();
            self.phase = phase.to_owned();
            self.in_phase = 0;
        }
        self.recent.push(second.clone());
        if self.recent.len() > RECENT {
            self.recent.remove(0);
        }
        self.passed += 1;
        self.in_phase += 1;
        self.untold += 1;
        match &self.terminal {
            Some(terminal) => {
                let (rows, columns) = terminal.size_checked().unwrap_or((u16::MAX, COLUMNS));
                let mut lines = self.lines(columns.min(COLUMNS_MAX).into());
                // What has scrolled away cannot be written over.
                lines.truncate(usize::from(rows).saturating_sub(1));
                self.draw(lines);
            }
            None if self.untold >= TOLD_TOGETHER => self.tell(),
            None => {}
        }
    }

    /// Tells what stays, such as that the server was killed.
    pub fn say(&mut self, what: &str) {
        let Some(terminal) = &self.terminal else {
            self.tell();
            return print(what);
        };
        let lines = std::mem::take(&mut self.drawn);
        // Without a terminal there is nobody to tell.
        let _told = clear(terminal, lines.len()).and_then(|()| terminal.write_line(what));
        self.draw(lines);
    }

    /// The run is over: what was told for a moment goes.
    pub fn end(mut self) {
        self.tell();
        self.draw(Vec::new());
    }

    /// Puts lines in the place of those that stand there.
    fn draw(&mut self, lines: Vec<String>) {
        let Some(terminal) = &self.terminal else { return };
        let before = std::mem::replace(&mut self.drawn, lines).len();
        let written = clear(terminal, before).and_then(|()| {
            self.drawn.iter().try_for_each(|line| terminal.write_line(line))?;
            terminal.flush()
        });
        // Without a terminal there is nobody to tell.
        let _told = written;
    }

    /// Tells as a line what none has told of yet, where there is no terminal.
    fn tell(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        if self.terminal.is_none()
            && let Some(moment) = self.last(untold)
        {
            print(&self.line(&moment));
        }
    }

    /// The last seconds.
    fn last(&self, seconds: usize) -> Option<Moment<'_>> {
        let (before, last) = self.recent.split_at(self.recent.len().saturating_sub(seconds));
        let first = last.first()?;
        let before = before.last().filter(|_| self.in_phase > last.len());
        let begin = before.map_or(first.at - 1.0, |second| second.at);
        Moment::new(begin, last)
    }

    fn line(&self, at: &Moment<'_>) -> String {
        let mut line = format!("{}  {}", self.time(at), self.phase);
        let rates: [(&str, Count); 4] = [
            ("offered", |second| second.offered),
            ("acknowledged", |second| second.acknowledged),
            ("failed", Second::failed),
            ("delivered", |second| second.delivered),
        ];
        for (name, of) in rates {
            line += &format!("  {name} {}/s", fixed(at.rate(of), 0));
        }
        for (name, p50, p99) in latencies(at) {
            line += &format!("  {name} p50 {p50} p99 {p99} ms");
        }
        if let Some((cores, memory)) = server(at) {
            line += &format!("  server {cores} cores {memory} MB");
        }
        line
    }

    fn lines(&self, columns: usize) -> Vec<String> {
        let Some(at) = self.last(1) else { return Vec::new() };
        let (dim, bad) = (Style::new().dim(), Style::new().red().bold());
        let title = format!("{}  {}", self.scenario, self.phase);
        let time = self.time(&at);
        let room = columns.saturating_sub(time.chars().count() + 1);
        let title = truncate_str(&title, room, "…").into_owned();
        let mut lines =
            vec![format!("{}{}", Style::new().bold().apply_to(format!("{title:<room$} ")), time)];
        lines.push(self.bar(columns));
        lines.push(String::new());
        let rates: [(&str, Count, Style); 5] = [
            ("offered", |second| second.offered, Style::new().dim()),
            ("acknowledged", |second| second.acknowledged, Style::new().cyan()),
            ("delivered", |second| second.delivered, Style::new().green()),
            ("refused", |second| second.refused, bad.clone()),
            ("unknown", |second| second.unknown, bad),
        ];
        for (name, of, style) in rates {
            let label = dim.apply_to(format!("  {name:<14}"));
            let rate = format!("{:>10} /s  ", fixed(at.rate(of), 0));
            let curve = style.apply_to(self.curve(of, columns.saturating_sub(CURVE_AT)));
            lines.push(format!("{label}{rate}{curve}"));
        }
        lines.push(String::new());
        for (name, p50, p99) in latencies(&at) {
            let label = dim.apply_to(format!("  {name:<14}"));
            lines.push(format!("{label}p50 {p50:>9} ms   p99 {p99:>9} ms"));
        }
        if let Some((cores, memory)) = server(&at) {
            let label = dim.apply_to(format!("  {:<14}", "server"));
            lines.push(format!("{label}    {cores:>9} cores    {memory:>9} MB"));
        }
        lines.iter().map(|line| truncate_str(line, columns, "").into_owned()).collect()
    }

    fn time(&self, at: &Moment<'_>) -> String {
        let since_begin = clock(at.to as u32);
        match self.share() {
            Some(share) => format!("{since_begin} {:>3.0} %", share * 100.0),
            None => since_begin,
        }
    }

    fn bar(&self, columns: usize) -> String {
        let done = (columns as f64 * self.share().unwrap_or(0.0)) as usize;
        let (done, rest) = ("━".repeat(done), "─".repeat(columns - done));
        format!("{}{}", Style::new().cyan().apply_to(done), Style::new().dim().apply_to(rest))
    }

    /// How much of it is over.
    fn share(&self) -> Option<f64> {
        self.total.map(|total| (self.passed as f64 / total).min(1.0))
    }

    /// The last seconds as a small curve; nothing where nothing happened.
    fn curve(&self, of: Count, width: usize) -> String {
        let from = self.recent.len().saturating_sub(width);
        let most = self.recent.iter().map(of).max().unwrap_or(0);
        let step = |second: &Second| match of(second) {
            0 => ' ',
            n => CURVE[(n as f64 / most as f64 * 7.0).round() as usize],
        };
        self.recent[from..].iter().map(step).collect()
    }
}

/// The last lines go.
fn clear(terminal: &Term, lines: usize) -> io::Result<()> {
    terminal.move_cursor_up(lines)?;
    terminal.clear_to_end_of_screen()
}

/// Latencies of those things that were timed: the usual and the worst.
fn latencies(at: &Moment<'_>) -> impl Iterator<Item = (&'static str, String, String)> {
    type Of = fn(&Second) -> Option<u64>;
    let all: [(&str, Of, Of); 2] = [
        ("acknowledge", |second| second.acknowledge_p50_us, |second| second.acknowledge_p99_us),
        ("end to end", |second| second.end_to_end_p50_us, |second| second.end_to_end_p99_us),
    ];
    let told = |micros| fixed(millis(micros), 2);
    let found = all.map(|(name, p50, p99)| Some((name, told(at.most(p50)?), told(at.most(p99)?))));
    found.into_iter().flatten()
}

/// Processors that it keeps busy, and its memory, where they are known.
fn server(at: &Moment<'_>) -> Option<(String, String)> {
    let memory = at.most(|second| second.server_rss_bytes).map(megabytes);
    let cores = at.cores(Second::server_us);
    let memory_told = memory.map_or_else(|| NONE.to_owned(), |memory| fixed(memory, 1));
    (cores.is_finite() || memory.is_some()).then(|| (fixed(cores, 2), memory_told))
}

fn print(line: &str) {
    // Without anybody who reads there is nobody to tell.
    let _told = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Live, RECENT};
    use crate::result::Second;
    use crate::sample;
    use console::{measure_text_width, strip_ansi_codes};

    /// A run of which so many seconds have passed; nothing is written.
    fn after(seconds: usize) -> Live {
        let run = sample::run();
        let mut live = Live { terminal: None, ..Live::new(&run.scenario.name, Some(100.0)) };
        let all =
            run.phases.iter().flat_map(|phase| phase.series.iter().map(move |at| (phase, at)));
        for (phase, second) in all.take(seconds) {
            live.phase = phase.name.clone();
            live.recent.push(second.clone());
            live.passed += 1;
        }
        live
    }

    fn text(live: &Live, columns: usize) -> String {
        strip_ansi_codes(&live.lines(columns).join("\n")).into_owned()
    }

    #[test]
    fn a_terminal_shows_rates_latencies_and_the_server() {
        let text = text(&after(25), usize::from(COLUMNS));
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("Inbound with subscribers  30 %"), "{text}");
        assert!(first.ends_with("0:29  25 %"), "{text}");
        for part in ["1,260 /s", "p50", "p99", "cores", "MB", "▃", "━", "─"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains(super::NONE), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut live = after(25);
        live.phase = "a name that goes on and on, as names that people write may do 漢字".repeat(3);
        for columns in [0, 1, 20, 80, 100] {
            for line in live.lines(columns) {
                assert!(measure_text_width(&line) <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn a_line_tells_the_mean_of_its_seconds_and_the_worst_of_their_latencies() {
        let mut live = after(0);
        live.phase = "30 %".to_owned();
        for (at, n, p99) in [(1.0, 100, 4_000), (2.0, 300, 9_000)] {
            let (p50, p99) = (Some(1_000), Some(p99));
            let (offered, refused) = (n, n / 10);
            live.recent.push(Second {
                at,
                offered,
                refused,
                acknowledge_p50_us: p50,
                acknowledge_p99_us: p99,
                ..Second::default()
            });
        }
        assert_eq!(
            live.line(&live.last(2).unwrap()),
            "0:02   0 %  30 %  offered 200/s  acknowledged 0/s  failed 20/s  delivered 0/s  \
             acknowledge p50 1.00 p99 9.00 ms"
        );
    }

    #[test]
    fn what_nobody_measured_is_not_shown_and_time_that_strays_does_no_harm() {
        let mut live = after(0);
        assert!(live.lines(80).is_empty());
        live.total = None;
        for at in [1.0, 1.0, f64::NAN, 2.0] {
            live.recent.push(Second { at, ..Second::default() });
            let text = text(&live, 80);
            assert!(!text.contains("server") && !text.contains("p50"), "{text}");
        }
    }

    #[test]
    fn what_lies_between_phases_is_no_part_of_them() {
        let mut live = Live { terminal: None, ..Live::new("mixed", None) };
        for (phase, at) in [("30 %", 1.0), ("50 %", 3.0), ("50 %", 5.0)] {
            live.second(phase, &Second { at, offered: 100, ..Second::default() });
            let rate = if at < 5.0 { "offered 100/s" } else { "offered 50/s" };
            assert!(live.line(&live.last(1).unwrap()).contains(rate), "{at}");
        }
    }

    #[test]
    fn only_the_last_seconds_are_kept() {
        let mut live = Live { terminal: None, ..Live::new("long", None) };
        for at in 1..=RECENT + 20 {
            live.untold = 0;
            live.second("soak", &Second { at: at as f64, ..Second::default() });
        }
        assert_eq!(live.recent.len(), RECENT);
    }
}
