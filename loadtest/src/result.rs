//! The file that keeps what a run found: it is shown as a page, and compared with other runs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as Decoder, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::Value;

use crate::body::since_1970;
use crate::machine::Machine;

/// The format that this program writes. It grows when an older program would misread a file; fields
/// are only ever added.
pub const FORMAT: u64 = 1;

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub format: u64,
    pub scenario: Scenario,
    /// When it began, as RFC 3339 has it.
    pub started: String,
    /// How long it took. All other times of the file count from its begin.
    pub seconds: f64,
    pub machine: Machine,
    pub tool_version: String,
    pub server_version: Option<String>,
    pub seed: u64,
    pub phases: Vec<Phase>,
    /// When the server was killed.
    #[serde(default)]
    pub kills: Vec<f64>,
    pub ledger: Ledger,
    /// The first violations, a sentence each.
    pub violations: Vec<String>,
    /// How many there were.
    pub violations_total: u64,
    /// What was not checked, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What was asked of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    pub name: String,
    /// The file's text.
    pub text: String,
    /// Equal hashes ask the same: only such runs are compared.
    pub hash: String,
}

/// A stretch of a run under one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    pub name: String,
    /// When it began.
    #[serde(default)]
    pub begin: f64,
    pub seconds: f64,
    /// Requests a second that were due; none where each waited for the answer before it.
    pub target_rate: Option<f64>,
    /// Which share that is of the most that was found; none where that was not looked for.
    #[serde(default)]
    pub load: Option<f64>,
    /// Whether its latencies count.
    pub valid: bool,
    pub why_invalid: Vec<String>,
    /// Requests that were due; what became of them counts here however late it did, and in `series` when it did.
    pub offered: u64,
    pub acknowledged: u64,
    pub refused: u64,
    /// Those whose answer nobody knows.
    pub unknown: u64,
    /// Requests that said again, on purpose, what an earlier one had said.
    pub duplicates_sent: u64,
    /// Those of them that were refused or not answered.
    #[serde(default)]
    pub duplicates_failed: u64,
    /// Pages that were refused or not answered: [`REST`] is that of all others.
    #[serde(default)]
    pub pages_failed: u64,
    /// Events that came to subscribers, of what was due.
    pub delivered: u64,
    /// Microseconds, by what took them: [`ACKNOWLEDGE`] and the like.
    pub latencies: BTreeMap<String, Recorded>,
    pub series: Vec<Second>,
    /// None where the server's process is not known.
    pub server: Option<ServerCost>,
    pub generator: GeneratorCost,
}

/// From when a webhook was due to its answer.
pub const ACKNOWLEDGE: &str = "acknowledge";
/// From when a webhook was due to its event at a subscriber.
pub const END_TO_END: &str = "end_to_end";
/// A websocket's handshakes and its greeting.
pub const CONNECT: &str = "connect";
/// From when a request for a page was due to its answer.
pub const REST: &str = "rest";
/// How late the generator itself was.
pub const LATENESS: &str = "lateness";

/// One second of a phase: what happened within it. A figure that nobody took is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it ended.
    pub at: f64,
    pub offered: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub delivered: u64,
    pub acknowledge_p50_us: Option<u64>,
    pub acknowledge_p99_us: Option<u64>,
    pub end_to_end_p50_us: Option<u64>,
    pub end_to_end_p99_us: Option<u64>,
    pub server_user_us: Option<u64>,
    pub server_system_us: Option<u64>,
    /// At its end.
    pub server_rss_bytes: Option<u64>,
}

/// What all processes of the server took in a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    pub user_us: u64,
    pub system_us: u64,
    pub rss_before: u64,
    pub rss_after: u64,
}

/// What this program itself took in a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorCost {
    pub cpu_us: u64,
    pub cpu_us_per_webhook: Option<f64>,
    pub cpu_us_per_event: Option<f64>,
}

/// What became of every message, after everything was read back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub stored: u64,
    /// Not acknowledged, and there: no violation.
    pub unknown_stored: u64,
    /// Events that subscribers were checked to have got.
    pub events: u64,
    pub reconnects: u64,
    pub kills: u64,
    pub lost: u64,
    pub doubled: u64,
    pub out_of_order: u64,
}

/// A histogram, in a file as HdrHistogram's other tools read it: base64 of its compressed V2 format.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded(pub Histogram<u64>);

/// Why a file is no result that can be read: a sentence that says what to do.
#[derive(Debug)]
pub struct Unreadable(String);

/// Whether memory grows shows only in quarters of so many seconds.
const QUARTER_MIN: usize = 15;

impl RunResult {
    /// Whether the server kept its word.
    pub fn is_kept(&self) -> bool {
        self.violations_total == 0
    }

    /// Writes it to a file; what was there before is gone only when all of it is written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".part");
        let mut to = BufWriter::new(File::create(&unfinished)?);
        serde_json::to_writer(&mut to, self)?;
        to.write_all(b"\n")?;
        to.flush()?;
        fs::rename(unfinished, path)
    }

    /// Reads it from a file.
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        let file = path.display();
        let text = fs::read(path).map_err(|error| Unreadable(format!("`{file}`: {error}")))?;
        Self::parse(&text).map_err(|why| Unreadable(format!("`{file}` {why}")))
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let none = "is no result of a load test: name a file that `loadtest` has written";
        let value: Value = serde_json::from_slice(text).map_err(|_| none.to_owned())?;
        match value.get("format").and_then(Value::as_u64) {
            Some(1..=FORMAT) => serde_json::from_value(value).map_err(|error| {
                format!("is a damaged result of a load test ({error}): run it again")
            }),
            Some(newer @ 2..) => Err(format!(
                "was written by a newer `loadtest` (format {newer}, and this one reads {FORMAT}): \
                 use that one"
            )),
            _ => Err(none.to_owned()),
        }
    }
}

/// The machine's time, as RFC 3339 has it.
pub fn now() -> String {
    DateTime::<Utc>::from(UNIX_EPOCH + since_1970()).to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl Phase {
    /// How long something took, if anything did.
    pub fn latency(&self, of: &str) -> Option<&Histogram<u64>> {
        self.latencies.get(of).map(|Recorded(taken)| taken).filter(|taken| !taken.is_empty())
    }

    /// By what share the server's memory in the last quarter is more than in the second: the first
    /// fills what is filled once. None where a phase is too short to tell.
    pub fn memory_growth(&self) -> Option<f64> {
        let resident: Vec<u64> =
            self.series.iter().filter_map(|second| second.server_rss_bytes).collect();
        let quarter = resident.len() / 4;
        let usual = |part: &[u64]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part[part.len() / 2] as f64
        };
        let early = || usual(&resident[quarter..2 * quarter]);
        (quarter >= QUARTER_MIN)
            .then(|| usual(&resident[resident.len() - quarter..]) / early().max(1.0) - 1.0)
    }

    /// What was acknowledged within its time, whenever it was due: rates and costs are of this. All where
    /// nobody looked second by second.
    pub fn acknowledged_within(&self) -> u64 {
        self.within(self.acknowledged, |second| second.acknowledged)
    }

    /// The same of events that came to subscribers.
    pub fn delivered_within(&self) -> u64 {
        self.within(self.delivered, |second| second.delivered)
    }

    fn within(&self, all: u64, of: impl Fn(&Second) -> u64) -> u64 {
        if self.series.is_empty() { all } else { self.series.iter().map(of).sum() }
    }

    /// So many a second.
    pub fn rate(&self, count: u64) -> f64 {
        count as f64 / self.seconds.max(1e-6)
    }
}

impl ServerCost {
    /// Microseconds of processor for each of so many; none of none.
    pub fn each(&self, count: u64) -> Option<f64> {
        (count > 0).then(|| (self.user_us + self.system_us) as f64 / count as f64)
    }
}

impl Serialize for Recorded {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        let encoded = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        encoded.map_err(|error| ser::Error::custom(format!("{error:?}")))?;
        to.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Recorded {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom("a histogram is none");
        let bytes = STANDARD.decode(String::deserialize(from)?).map_err(|_| wrong())?;
        Decoder::new().deserialize(&mut &bytes[..]).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

#[cfg(test)]
mod tests {
    use super::{ACKNOWLEDGE, FORMAT, Phase, Recorded, RunResult, Second, ServerCost};
    use crate::tally::histogram;

    fn result() -> RunResult {
        let mut taken = histogram();
        for micros in [180, 2_000, 2_000, 31_000, 5_000_000] {
            taken.record(micros).unwrap();
        }
        let phase = Phase {
            name: "30 %".to_owned(),
            target_rate: Some(1_234.5),
            latencies: [(ACKNOWLEDGE.to_owned(), Recorded(taken))].into(),
            series: vec![Second { at: 0.1 + 0.2, offered: 7, ..Second::default() }],
            server: Some(ServerCost { user_us: 12, ..ServerCost::default() }),
            ..Phase::default()
        };
        let violations = vec!["message 7 is \"there\" twice\n".to_owned()];
        RunResult { format: FORMAT, phases: vec![phase], violations, ..RunResult::default() }
    }

    fn unreadable(text: &str) -> String {
        RunResult::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = std::env::temp_dir();
        let path = dir.join(format!("loadtest-result-{}.json", std::process::id()));
        result().write(&path).unwrap();
        let read = RunResult::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), result());
        assert!(RunResult::read(&path).unwrap_err().to_string().contains("loadtest-result-"));
    }

    #[test]
    fn a_histogram_is_kept_as_others_read_it_and_loses_nothing() {
        let taken = result().phases.remove(0).latencies.remove(ACKNOWLEDGE).unwrap();
        let text = serde_json::to_string(&taken).unwrap();
        assert!(text.starts_with("\"HISTFAAA"), "{text}");
        let read: Recorded = serde_json::from_str(&text).unwrap();
        assert_eq!(read, taken);
        assert_eq!((read.0.len(), read.0.min()), (5, 180));
    }

    #[test]
    fn what_is_no_result_is_told_from_what_is_newer_and_what_is_damaged() {
        for none in ["", "PNG", "[1]", "{}", r#"{"format":"1"}"#, r#"{"format":0}"#] {
            assert!(unreadable(none).starts_with("is no result"), "{none}");
        }
        let newer = unreadable(r#"{"format":2,"phases":{}}"#);
        assert!(newer.contains("newer") && newer.contains("format 2"), "{newer}");
        let damaged = unreadable(r#"{"format":1}"#);
        assert!(damaged.contains("damaged") && damaged.contains("scenario"), "{damaged}");
        let text = serde_json::to_string(&result()).unwrap();
        for histogram in ["HISTF!", "", "AAAA"] {
            let broken = text.replace("HISTFAAA", histogram);
            assert!(unreadable(&broken).contains("histogram"), "{histogram}");
        }
    }

    #[test]
    fn memory_grows_by_what_the_last_quarter_has_more_than_the_second() {
        let series = |seconds: u64, of: fn(u64) -> Option<u64>| {
            let second = |at| Second { server_rss_bytes: of(at), ..Second::default() };
            Phase { series: (0..seconds).map(second).collect(), ..Phase::default() }
        };
        let filling = series(100, |at| Some(if at < 25 { at } else { 200 }));
        assert_eq!(filling.memory_growth(), Some(0.0));
        let growing = series(100, |at| Some(1_000 + 10 * at));
        assert!(growing.memory_growth().is_some_and(|grown| (0.3..0.4).contains(&grown)));
        for (seconds, of) in [(59, (|_| Some(1)) as fn(u64) -> _), (100, |_| None), (0, |_| None)] {
            assert_eq!(series(seconds, of).memory_growth(), None);
        }
        assert!(series(60, |_| Some(0)).memory_growth().is_some_and(f64::is_finite));
    }

    #[test]
    fn what_a_later_program_adds_does_not_hide_the_rest() {
        let mut value = serde_json::to_value(result()).unwrap();
        value["weather"] = "fine".into();
        assert_eq!(RunResult::parse(value.to_string().as_bytes()).unwrap(), result());
    }
}
