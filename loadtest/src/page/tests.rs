//! A page is read as a browser reads it.

use std::cell::RefCell;

use hdrhistogram::Histogram;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::{RawKind, State};
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use super::{latency_name, page};
use crate::result::{ACKNOWLEDGE, Phase, Recorded, RunResult, Second};
use crate::sample;
use crate::tally::histogram;

/// Elements that are never closed.
const VOID: [&str; 2] = ["meta", "br"];

/// What a browser makes of a page.
#[derive(Default)]
struct Read {
    /// Elements that are open.
    open: RefCell<Vec<String>>,
    elements: RefCell<Vec<Tag>>,
    text: RefCell<String>,
    wrong: RefCell<Vec<String>>,
}

impl TokenSink for &Read {
    type Handle = ();

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<()> {
        match token {
            Token::CharacterTokens(text) => self.text.borrow_mut().push_str(&text),
            Token::TagToken(tag) => return self.tag(tag),
            Token::ParseError(error) => self.wrong.borrow_mut().push(format!("{line}: {error}")),
            Token::NullCharacterToken => self.wrong.borrow_mut().push("a null".to_owned()),
            Token::CommentToken(_) | Token::DoctypeToken(_) | Token::EOFToken => {}
        }
        TokenSinkResult::Continue
    }
}

impl Read {
    fn tag(&self, tag: Tag) -> TokenSinkResult<()> {
        let name = tag.name.to_string();
        let kind = tag.kind;
        if kind == TagKind::EndTag {
            let open = self.open.borrow_mut().pop();
            if open.as_deref() != Some(&name) {
                self.wrong.borrow_mut().push(format!("</{name}> closes {open:?}"));
            }
            return TokenSinkResult::Continue;
        }
        let is_svg = self.open.borrow().iter().any(|open| open == "svg");
        self.elements.borrow_mut().push(tag);
        if !VOID.contains(&name.as_str()) {
            self.open.borrow_mut().push(name.clone());
        }
        match name.as_str() {
            "style" => TokenSinkResult::RawData(RawKind::Rawtext),
            "title" if !is_svg => TokenSinkResult::RawData(RawKind::Rcdata),
            _ => TokenSinkResult::Continue,
        }
    }
}

/// Reads the page of a run. It is well-formed, and nothing of it is fetched or runs.
fn read(result: &RunResult) -> Read {
    let html = page(result);
    for number in ["NaN", "inf"] {
        assert!(!html.contains(number), "{number} is no number");
    }
    let read = Read::default();
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(&html));
    let options = TokenizerOpts {
        exact_errors: true,
        initial_state: Some(State::Data),
        ..TokenizerOpts::default()
    };
    let tokenizer = Tokenizer::new(&read, options);
    let _done = tokenizer.feed(&input);
    tokenizer.end();
    assert!(input.is_empty());
    assert_eq!((&*read.wrong.borrow(), &*read.open.borrow()), (&vec![], &vec![]));
    for tag in read.elements.borrow().iter() {
        let fetches = ["script", "link", "img", "iframe", "object", "a", "use", "image"];
        assert!(!fetches.contains(&&*tag.name), "{tag:?}");
        for attribute in &tag.attrs {
            let name = &*attribute.name.local;
            assert!(!name.starts_with("on") && !["src", "href"].contains(&name), "{tag:?}");
        }
    }
    assert!(!html.contains("url(") && !html.contains("@import"));
    read
}

impl Read {
    fn count(&self, name: &str) -> usize {
        self.elements.borrow().iter().filter(|tag| &*tag.name == name).count()
    }

    fn says(&self, text: &str) -> bool {
        self.text.borrow().contains(text)
    }
}

#[test]
fn a_run_is_shown_with_all_its_plots() {
    let read = read(&sample::run());
    // Five over time, two by load, three by percentile.
    assert_eq!((read.count("figure"), read.count("svg")), (10, 10));
    assert_eq!(read.count("table"), 3);
    for text in
        ["Nothing lost", "268,000", "AMD EPYC", "find_maximum = true", "1 of 5 phases", "was late"]
    {
        assert!(read.says(text), "{text}");
    }
    assert!(!read.says("violation"));
}

#[test]
fn the_figures_on_top_are_of_a_load_that_counts_or_say_that_they_do_not() {
    let mut run = sample::run();
    assert!(read(&run).says("of the phase “70 %”."));
    run.phases[3].valid = false;
    assert!(read(&run).says("of the phase “50 %”."));
    run.phases.retain(|phase| !phase.valid || phase.load.is_none());
    assert!(read(&run).says("of the phase “70 %”, which is not valid"));
}

#[test]
fn a_phase_of_one_second_is_drawn_as_wide_as_it_was() {
    let mut run = sample::run();
    run.phases.truncate(1);
    run.phases[0].series.truncate(1);
    let read = read(&run);
    let elements = read.elements.borrow();
    let lines = elements.iter().filter_map(|tag| {
        let of = |name| tag.attrs.iter().find(|found| &*found.name.local == name);
        of("class").filter(|class| class.value.trim() == "line").and_then(|_| of("d"))
    });
    let is_wide = |path: &str| path.starts_with("M0 ") && path.matches('L').count() == 1;
    // Requests that were answered, events, and four latencies.
    assert_eq!(lines.filter(|path| is_wide(&path.value)).count(), 6);
}

#[test]
fn every_kind_of_latency_has_a_name() {
    let names = [ACKNOWLEDGE, "acknowledge_neighbours", "reply", "übung_x", ""].map(latency_name);
    assert_eq!(names, ["Acknowledge", "Acknowledge neighbours", "Reply", "Übung x", ""]);
}

#[test]
fn whatever_a_result_says_stays_text() {
    let hostile = "</title></style></pre>\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\u{202e}";
    let mut run = sample::run();
    run.scenario.name = hostile.to_owned();
    run.scenario.text = hostile.to_owned();
    run.scenario.hash = hostile.to_owned();
    run.started = hostile.to_owned();
    run.tool_version = hostile.to_owned();
    run.server_version = Some(hostile.to_owned());
    run.machine.model = hostile.to_owned();
    run.machine.kernel = hostile.to_owned();
    run.violations = vec![hostile.to_owned()];
    run.violations_total = 1;
    run.notes = vec![hostile.to_owned()];
    for phase in &mut run.phases {
        phase.name = hostile.to_owned();
        phase.why_invalid = vec![hostile.to_owned()];
        let taken = phase.latencies.remove(ACKNOWLEDGE).unwrap();
        phase.latencies.insert(hostile.to_owned(), taken);
    }
    let read = read(&run);
    assert!(read.text.borrow().matches(hostile).count() > 30);
}

#[test]
fn violations_stand_on_top_whoever_counted_them() {
    let mut run = sample::run();
    run.violations = vec!["message 7 was acknowledged and is not there".to_owned()];
    run.violations_total = 12;
    let text = read(&run).text.take();
    let (violation, plots) = (text.find("message 7"), text.find("Over time"));
    assert!(violation < plots && violation.is_some());
    for told in ["12 violations", "and 11 more"] {
        assert!(text.contains(told), "{told}");
    }
    let mut run = sample::run();
    run.ledger.out_of_order = 1;
    let text = read(&run).text.take();
    assert!(text.contains("1 violation:") && !text.contains("Nothing lost"));
}

#[test]
fn what_a_run_notes_and_what_failed_is_on_its_page() {
    let mut run = sample::run();
    assert!(!read(&run).says("Notes"));
    run.notes = vec!["pages were refused by 500 (12 times)".to_owned()];
    run.phases[1].pages_failed = 31_337;
    let read = read(&run);
    for text in ["Notes", "pages were refused by 500 (12 times)", "31,337"] {
        assert!(read.says(text), "{text}");
    }
}

#[test]
fn a_run_of_nothing_is_a_page_all_the_same() {
    let empty = read(&RunResult::default());
    assert_eq!((empty.count("svg"), empty.count("table")), (0, 0));
    assert!(empty.says("Nothing was checked") && !empty.says("Nothing lost"));
    let second = |at| Second { at, ..Second::default() };
    let series = [0.0, 0.0, f64::NAN, -5.0, 1e300, f64::INFINITY];
    let mut phase = Phase {
        begin: f64::NAN,
        seconds: f64::NAN,
        target_rate: Some(f64::INFINITY),
        load: Some(f64::NAN),
        valid: true,
        latencies: [(ACKNOWLEDGE.to_owned(), Recorded(histogram()))].into(),
        series: series.map(second).into(),
        ..Phase::default()
    };
    let mut run = RunResult { kills: vec![f64::NAN, 1.0], ..RunResult::default() };
    run.phases = vec![Phase::default(), phase.clone()];
    assert_eq!(read(&run).count("table"), 3);
    let mut one: Histogram<u64> = histogram();
    one.record(1).unwrap();
    phase.latencies.insert(ACKNOWLEDGE.to_owned(), Recorded(one));
    run.phases = vec![phase];
    assert_eq!(read(&run).count("table"), 3);
}

#[test]
fn an_hour_is_drawn_with_no_more_points_than_there_is_room_for() {
    let mut run = sample::run();
    let phase = &mut run.phases[0];
    let second = |at: u32| Second { at: f64::from(at), offered: 100, ..phase.series[0].clone() };
    phase.series = (1..=3_600).map(second).collect();
    run.phases.truncate(1);
    let read = read(&run);
    let hints = read.count("rect");
    assert!((300..=5 * 400).contains(&hints), "{hints}");
    assert!(read.says("100 offered") && read.says("Grown: the last quarter"));
}
