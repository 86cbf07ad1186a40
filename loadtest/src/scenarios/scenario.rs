//! A scenario: what is asked of a server, as a file says it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::people::Channel;

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    /// What it is for, in a sentence.
    pub about: String,
    /// Who writes what when is drawn from it.
    #[serde(default = "seed")]
    pub seed: u64,
    #[serde(default)]
    pub people: People,
    #[serde(default)]
    pub load: Load,
    #[serde(default)]
    pub subscribers: Subscribers,
    pub phases: Phases,
    #[serde(default)]
    pub kills: Kills,
}

/// Who writes to whom.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct People {
    pub tenants: u64,
    /// Of all tenants together; each has a conversation of their own.
    pub customers: u64,
    /// How much more the busiest write (Zipf's exponent); 0: all the same.
    pub zipf: f64,
    /// The share of all messages that go to the first tenant; 0: as many as to any other.
    pub noisy: f64,
    /// How many of so many customers write by which channel.
    pub channels: Channels,
}

/// Shares of the channels.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Channels {
    pub whatsapp: u32,
    pub messenger: u32,
    pub instagram: u32,
    pub email: u32,
}

/// What is done for each webhook with a customer's new message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Answers of agents, by REST; three receipts follow each from the provider.
    pub replies: f64,
    /// Pages of messages that are read by REST.
    pub pages: f64,
    /// Webhooks that are delivered once more.
    pub duplicates: f64,
    /// The share of messages that say they were written up to two minutes ago.
    pub belated: f64,
    /// Keep-alive connections.
    pub connections: usize,
}

/// Who watches live.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subscribers {
    pub count: usize,
    /// The busiest conversations of their tenant, followed by each.
    pub conversations: usize,
    /// Whether each follows the list of all conversations, too.
    pub lists: bool,
    /// Sockets opened a second, at first.
    pub ramp: f64,
    /// The share that stops to read once it follows.
    pub stopped: f64,
    /// Sockets that end and come back, a second.
    pub reconnects: f64,
    /// Seconds after which all end and come back at once; 0: never.
    pub storm_every: f64,
}

/// When what is due.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// Seconds of each phase that do not count.
    #[serde(default = "warm_up")]
    pub warm_up: f64,
    /// Seconds of each phase that count.
    pub seconds: f64,
    /// Seconds in which the most is looked for, in a closed loop; 0: it is not.
    #[serde(default)]
    pub search: f64,
    /// Rates of phases as shares of the most.
    #[serde(default)]
    pub of_maximum: Vec<f64>,
    /// Messages a second, agents' answers among them, a phase each.
    #[serde(default)]
    pub rates: Vec<f64>,
    /// Seconds that are waited for the last of it.
    #[serde(default = "patience")]
    pub patience: f64,
}

/// Kills of the server, which is started again each time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kills {
    /// So many, at even distances over all phases that have a rate.
    pub count: u32,
}

/// A scenario and the text that says it.
#[derive(Clone, Debug)]
pub struct Written {
    pub scenario: Scenario,
    pub text: String,
}

/// Why a scenario is none: a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(String);

/// The scenarios that the program brings.
const BUILT_IN: [(&str, &str); 11] = [
    ("chat", include_str!("../../scenarios/chat.toml")),
    ("fan-out", include_str!("../../scenarios/fan-out.toml")),
    ("hot-conversation", include_str!("../../scenarios/hot-conversation.toml")),
    ("inbound", include_str!("../../scenarios/inbound.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
    ("noisy-neighbour", include_str!("../../scenarios/noisy-neighbour.toml")),
    ("quick", include_str!("../../scenarios/quick.toml")),
    ("reconnect-storm", include_str!("../../scenarios/reconnect-storm.toml")),
    ("rest", include_str!("../../scenarios/rest.toml")),
    ("restart", include_str!("../../scenarios/restart.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
];

/// Streams that one socket may follow, by the protocol's default.
const STREAMS_MAX: usize = 199;
const TENANTS_MAX: u64 = 1_000;
const CUSTOMERS_MAX: u64 = 10_000_000;
const SUBSCRIBERS_MAX: usize = 100_000;
const CONNECTIONS_MAX: usize = 10_000;
const RATE_MAX: f64 = 1e6;
const SECONDS_MAX: f64 = 86_400.0;

fn seed() -> u64 {
    4711
}

fn warm_up() -> f64 {
    2.0
}

fn patience() -> f64 {
    60.0
}

impl Default for People {
    fn default() -> Self {
        let channels = Channels::default();
        Self { tenants: 4, customers: 1_000, zipf: 1.0, noisy: 0.0, channels }
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self { whatsapp: 70, messenger: 10, instagram: 15, email: 5 }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self { replies: 0.0, pages: 0.0, duplicates: 0.02, belated: 0.05, connections: 256 }
    }
}

impl Default for Subscribers {
    fn default() -> Self {
        Self {
            count: 0,
            conversations: 1,
            lists: false,
            ramp: 200.0,
            stopped: 0.0,
            reconnects: 0.0,
            storm_every: 0.0,
        }
    }
}

impl Channels {
    /// Each channel with its share.
    pub(super) fn shares(self) -> [(Channel, u32); 4] {
        [
            (Channel::Whatsapp, self.whatsapp),
            (Channel::Messenger, self.messenger),
            (Channel::Instagram, self.instagram),
            (Channel::Email, self.email),
        ]
    }
}

impl Written {
    /// Reads a scenario: a file, or one that the program brings, by its name.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn read(named: &str) -> Result<Self, Wrong> {
        let text = match BUILT_IN.iter().find(|(name, _)| *name == named) {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(Path::new(named)).map_err(|error| {
                let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                Wrong(format!("`{named}` cannot be read ({error}): name a file, or one of {names}"))
            })?,
        };
        let scenario =
            Scenario::parse(&text).map_err(|Wrong(why)| Wrong(format!("`{named}`: {why}")))?;
        Ok(Self { scenario, text })
    }

    /// The same in so much time, which its text says, too: runs of another length asked for something else.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.scenario = self.scenario.within(time);
        self.text.push_str(&format!("# shortened to {} s\n", time.as_secs_f64()));
        self
    }
}

impl Scenario {
    /// Of a file's text.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let scenario: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let at = at.map_or(String::new(), |line| format!("line {line}: "));
            Wrong(format!("{at}{}", error.message()))
        })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Seconds that count, of all phases.
    pub fn seconds(&self) -> f64 {
        self.phases.search + self.phases.count() as f64 * self.phases.seconds
    }

    /// The same in less time: the phases are shortened so that all together take so long.
    fn within(mut self, time: Duration) -> Self {
        let phases = self.phases.count() as f64;
        let left = time.as_secs_f64() - self.phases.search - phases * self.phases.warm_up;
        self.phases.seconds = (left / phases).max(1.0);
        self
    }

    fn check(&self) -> Result<(), Wrong> {
        let Self { people, load, subscribers, phases, .. } = self;
        let within = |key: &str, value: f64, most: f64| match (0.0..=most).contains(&value) {
            true => Ok(()),
            false => Err(Wrong(format!("`{key}` must be a number from 0 to {most}"))),
        };
        let counts = |key: &str, value: u64, least: u64, most: u64| match value {
            _ if (least..=most).contains(&value) => Ok(()),
            _ => Err(Wrong(format!("`{key}` must be from {least} to {most}"))),
        };
        counts("people.tenants", people.tenants, 1, TENANTS_MAX)?;
        counts("people.customers", people.customers, people.tenants, CUSTOMERS_MAX)?;
        within("people.zipf", people.zipf, 3.0)?;
        within("people.noisy", people.noisy, 1.0)?;
        if people.noisy > 0.0 && people.tenants < 2 {
            return Err(Wrong("`people.noisy` needs a neighbour: have 2 `people.tenants`".into()));
        }
        if people.channels.shares().iter().all(|(_, share)| *share == 0) {
            return Err(Wrong("`people.channels` must give one channel at least a share".into()));
        }
        within("load.replies", load.replies, 10.0)?;
        within("load.pages", load.pages, 1_000.0)?;
        within("load.duplicates", load.duplicates, 1.0)?;
        within("load.belated", load.belated, 1.0)?;
        counts("load.connections", load.connections as u64, 1, CONNECTIONS_MAX as u64)?;
        counts("subscribers.count", subscribers.count as u64, 0, SUBSCRIBERS_MAX as u64)?;
        let streams = subscribers.conversations as u64;
        counts("subscribers.conversations", streams, 0, STREAMS_MAX as u64)?;
        within("subscribers.stopped", subscribers.stopped, 1.0)?;
        within("subscribers.reconnects", subscribers.reconnects, 1_000.0)?;
        within("subscribers.storm_every", subscribers.storm_every, SECONDS_MAX)?;
        within("subscribers.ramp", subscribers.ramp, RATE_MAX)?;
        if subscribers.ramp <= 0.0 {
            return Err(Wrong("`subscribers.ramp` must be above 0".into()));
        }
        phases.check(within)?;
        if self.kills.count > 0 && phases.count() == 0 {
            return Err(Wrong("`kills.count` needs a phase with a rate".into()));
        }
        Ok(())
    }
}

impl Phases {
    /// Phases that have a rate.
    pub(super) fn count(&self) -> usize {
        self.of_maximum.len() + self.rates.len()
    }

    fn check(&self, within: impl Fn(&str, f64, f64) -> Result<(), Wrong>) -> Result<(), Wrong> {
        within("phases.warm_up", self.warm_up, SECONDS_MAX)?;
        within("phases.seconds", self.seconds, SECONDS_MAX)?;
        within("phases.search", self.search, SECONDS_MAX)?;
        within("phases.patience", self.patience, SECONDS_MAX)?;
        let (shares, rates) = (self.of_maximum.iter(), self.rates.iter());
        shares.clone().try_for_each(|share| within("phases.of_maximum", *share, 2.0))?;
        rates.clone().try_for_each(|rate| within("phases.rates", *rate, RATE_MAX))?;
        if self.seconds <= 0.0 || shares.chain(rates).any(|rate| *rate <= 0.0) {
            return Err(Wrong("`phases.seconds` and all rates must be above 0".into()));
        }
        if !self.of_maximum.is_empty() && self.search <= 0.0 {
            let what = "`phases.of_maximum` needs the most: set `phases.search` to some seconds";
            return Err(Wrong(what.into()));
        }
        match self.count() > 0 || self.search > 0.0 {
            true => Ok(()),
            false => Err(Wrong("`phases` needs `rates`, or `search` and `of_maximum`".into())),
        }
    }
}

impl Wrong {
    pub(super) fn new(sentence: String) -> Self {
        Self(sentence)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, Scenario, Written};
    use std::time::Duration;

    const LEAST: &str = "name = \"a\"\nabout = \"b\"\n[phases]\nseconds = 5\nrates = [10, 20.5]\n";

    #[test]
    fn all_scenarios_of_the_program_are_some_and_bear_their_name() {
        for (name, _) in BUILT_IN {
            let written = Written::read(name).unwrap();
            assert_eq!(written.scenario.name, name);
            assert!(written.scenario.about.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn what_a_scenario_does_not_say_has_a_default() {
        let scenario = Scenario::parse(LEAST).unwrap();
        assert_eq!((scenario.seed, scenario.kills.count, scenario.subscribers.count), (4711, 0, 0));
        assert_eq!(scenario.phases.rates, [10.0, 20.5]);
        assert_eq!(scenario.people.channels.whatsapp, 70);
    }

    #[test]
    fn a_mistake_is_refused_with_its_key_and_what_to_write() {
        let wrong =
            |more: &str| Scenario::parse(&format!("{LEAST}{more}")).unwrap_err().to_string();
        for (more, words) in [
            ("[people]\ntenants = 0", "`people.tenants` must be from 1 to 1000"),
            ("[people]\ntenants = 5\ncustomers = 4", "`people.customers` must be from 5"),
            ("[people]\ntenants = 1\nnoisy = 0.5", "have 2 `people.tenants`"),
            ("[load]\nduplicates = 1.5", "`load.duplicates` must be a number from 0 to 1"),
            ("[load]\nreplies = nan", "`load.replies` must be a number"),
            ("[subscribers]\nramp = 0", "`subscribers.ramp` must be above 0"),
            ("[subscribers]\nconversations = 200", "from 0 to 199"),
            ("[load]\nrepleis = 1", "line 7: unknown field `repleis`"),
            ("[people.channels]\nwhatsapp = -1", "line 7"),
        ] {
            let sentence = wrong(more);
            assert!(sentence.contains(words), "{sentence}");
        }
        let none = "[people.channels]\nwhatsapp = 0\nmessenger = 0\ninstagram = 0\nemail = 0";
        assert!(wrong(none).contains("one channel at least"));
    }

    #[test]
    fn phases_need_a_rate_or_a_search() {
        let phases = |text: &str| {
            let text = format!("name = \"a\"\nabout = \"b\"\n[phases]\n{text}");
            Scenario::parse(&text).map_err(|wrong| wrong.to_string())
        };
        assert!(phases("seconds = 5").unwrap_err().contains("needs `rates`"));
        assert!(phases("seconds = 5\nof_maximum = [0.5]").unwrap_err().contains("`phases.search`"));
        assert!(phases("seconds = 0\nrates = [1]").unwrap_err().contains("above 0"));
        assert!(phases("rates = [1]").unwrap_err().contains("missing field `seconds`"));
        assert!(phases("seconds = 5\nsearch = 3\nof_maximum = [0.3, 0.9]").is_ok());
    }

    #[test]
    fn a_scenario_that_is_no_file_is_told_with_those_that_there_are() {
        let sentence = Written::read("no-such").unwrap_err().to_string();
        assert!(sentence.contains("hot-conversation") && sentence.contains("`no-such`"));
    }

    #[test]
    fn a_scenario_is_shortened_by_its_phases() {
        let within = |seconds| {
            let (scenario, text) = (Scenario::parse(LEAST).unwrap(), LEAST.to_owned());
            Written { scenario, text }.within(Duration::from_secs(seconds))
        };
        let shorter = within(24);
        assert!((shorter.scenario.phases.seconds - 10.0).abs() < 1e-9);
        // Runs are compared by what their texts say.
        assert_ne!(shorter.text, within(25).text);
        assert!(Scenario::parse(&shorter.text).is_ok());
    }
}
