//! The people, and where each of them is in a talk.

use std::collections::{HashMap, VecDeque};

use rand::RngExt;
use rand::rngs::StdRng;

use crate::bodies::Object;
use crate::graph::Sent;
use crate::media::MediaKind;
use crate::people::{Act, Business, Person, Who};
use crate::phrases::{LANGUAGES, Language};

/// Phone numbers are `1555`, six digits, and a 3, which no scripted failure ends in; ids on pages begin
/// otherwise.
const MOST: usize = 1_000_000;
/// The share of turns that go to somebody who was answered, when there is one.
const ANSWERED_FIRST: f64 = 0.8;
/// The share of answers that quote the message they answer.
const QUOTES: f64 = 0.2;
/// The share of people that press a button rather than write, where there is one.
const PRESSES: f64 = 0.9;
/// People whose last messages are remembered; beyond it all of that is forgotten.
const REMEMBERED: usize = 20_000;
const EMOJI: [&str; 4] = ["👍", "❤️", "🙏", "😂"];

/// What one person does in one go.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    /// Who it is.
    pub(super) who: usize,
    pub(super) acts: Vec<Act>,
}

/// Where somebody is in a talk.
#[derive(Clone, Debug, Default)]
struct Talker {
    /// How many talks came before.
    talks: usize,
    /// Turns taken in this talk.
    turns: usize,
    /// Asked something, and heard nothing yet.
    waits: bool,
    /// The business wrote and was not answered yet.
    heard: bool,
}

#[derive(Debug)]
pub(super) struct Crowd {
    seed: u64,
    /// How what they are known by begins.
    prefix: &'static str,
    /// Whether what is said in one go is one message.
    in_one: bool,
    people: Vec<Talker>,
    /// What people remember, of those who wrote.
    memories: HashMap<usize, Person>,
    /// How often all of that was forgotten.
    forgotten: u64,
    /// Those who were answered, each once.
    answered: VecDeque<usize>,
    /// Whether they can hear the business at all.
    hears: bool,
    /// The share of turns that are more than text.
    variety: f64,
}

impl Crowd {
    pub(super) fn new(
        business: &Business,
        people: usize,
        hears: bool,
        variety: f64,
        seed: u64,
    ) -> Self {
        let prefix = match business {
            Business::Number(_) => "1555",
            Business::Page(page) if page.object == Object::Instagram => "178400",
            Business::Page(_) => "710000",
            Business::Inbox(_) => "mail",
        };
        // Nobody writes three mails in one go.
        let in_one = matches!(business, Business::Inbox(_));
        let people = vec![Talker::default(); people.clamp(1, MOST)];
        Self {
            seed,
            prefix,
            in_one,
            people,
            memories: HashMap::new(),
            forgotten: 0,
            answered: VecDeque::new(),
            hears,
            variety: variety.clamp(0.0, 1.0),
        }
    }

    /// The business wrote this; false when it is to nobody here.
    pub(super) fn hear(&mut self, sent: &Sent) -> bool {
        let Some(index) = index(self.prefix, &sent.to) else { return false };
        let Some(talker) = self.people.get_mut(index) else { return false };
        if !std::mem::replace(&mut talker.heard, true) && talker.turns > 0 {
            self.answered.push_back(index);
        }
        talker.waits = false;
        self.person(index).hear(sent);
        true
    }

    /// What this person remembers.
    pub(super) fn person(&mut self, index: usize) -> &mut Person {
        if self.memories.len() >= REMEMBERED && !self.memories.contains_key(&index) {
            self.memories.clear();
            // Other ids than before.
            self.forgotten += 1;
        }
        let seed = self.seed.wrapping_add(self.forgotten);
        self.memories.entry(index).or_insert_with(|| {
            let language = &LANGUAGES[index % LANGUAGES.len()];
            Person::new(
                seed,
                &Who::with_phone(
                    phone(self.prefix, index),
                    name(language, index / LANGUAGES.len()),
                ),
            )
        })
    }

    /// Somebody takes a turn.
    pub(super) fn speak(&mut self, chance: &mut StdRng) -> Said {
        let answered = !self.answered.is_empty() && chance.random_bool(ANSWERED_FIRST);
        let index = match self.answered.pop_front_if(|_| answered) {
            Some(index) => index,
            None => chance.random_range(0..self.people.len()),
        };
        let talker = &mut self.people[index];
        let language = &LANGUAGES[index % LANGUAGES.len()];
        let heard = std::mem::take(&mut talker.heard);
        if heard && !answered {
            self.answered.retain(|&other| other != index);
        }
        if heard && self.variety > 0.0 && chance.random_bool(PRESSES) {
            let choices = self.person(index).choices();
            if choices > 0 {
                let choice = chance.random_range(0..choices);
                self.people[index].waits = self.hears;
                return Said { who: index, acts: vec![Act::Press { choice }] };
            }
        }
        let talker = &mut self.people[index];
        let lines = talker.next(language, chance);
        talker.waits = self.hears;
        let quote = heard && chance.random_bool(QUOTES);
        let quotes = [quote, false, false];
        let texts = lines.iter().zip(quotes).map(|(line, quote)| text(line, quote));
        let mut acts: Vec<_> = match self.in_one {
            true => vec![text(&lines.join("\n"), quote)],
            false => texts.collect(),
        };
        if self.variety > 0.0 && chance.random_bool(self.variety) {
            vary(&mut acts, heard, chance);
        }
        Said { who: index, acts }
    }
}

fn text(line: &str, quote: bool) -> Act {
    Act::Text { text: line.to_owned(), quote }
}

/// Makes more of what somebody would have written.
fn vary(acts: &mut Vec<Act>, heard: bool, chance: &mut StdRng) {
    if heard && chance.random_bool(0.5) {
        let emoji = EMOJI[chance.random_range(0..EMOJI.len())].to_owned();
        acts.insert(0, Act::React { emoji });
        return;
    }
    let last = acts.last().and_then(|act| match act {
        Act::Text { text, .. } => Some(text.clone()),
        _ => None,
    });
    let last = last.unwrap_or_default();
    let media = |kind| Act::Media { kind, caption: None };
    match chance.random_range(0..8) {
        0 => acts.insert(0, Act::Album { photos: chance.random_range(2..=5) }),
        1 => {
            acts.pop();
            acts.push(Act::Media { kind: MediaKind::Image, caption: Some(last) });
        }
        2 => acts.push(media(MediaKind::Audio)),
        3 => acts.push(media(MediaKind::Document)),
        4 => acts.push(Act::Edit { text: format!("{last} 🙏") }),
        5 => {
            let begun: String = last.chars().take(last.chars().count() / 2).collect();
            acts.insert(0, Act::Delete);
            acts.insert(0, text(begun.trim(), false));
        }
        6 => {
            let (latitude, longitude) =
                (48.0 + chance.random::<f64>(), 11.0 + chance.random::<f64>());
            acts.push(Act::Location { latitude, longitude, name: None });
        }
        _ => acts.push(media(MediaKind::Sticker)),
    }
}

impl Talker {
    fn next(&mut self, language: &Language, chance: &mut StdRng) -> Vec<&'static str> {
        if self.waits {
            return vec![language.nudges[chance.random_range(0..language.nudges.len())]];
        }
        let talk = &language.talks[self.talks % language.talks.len()];
        let turn = self.turns;
        self.turns += 1;
        if self.turns > talk.then.len() {
            (self.talks, self.turns) = (self.talks + 1, 0);
        }
        match turn {
            0 => talk.opening.to_vec(),
            later => vec![talk.then[later - 1]],
        }
    }
}

fn name(language: &Language, n: usize) -> String {
    let Language { first_names, last_names, .. } = language;
    let last = (n + n / first_names.len()) % last_names.len();
    format!("{} {}", first_names[n % first_names.len()], last_names[last])
}

fn phone(prefix: &str, index: usize) -> String {
    format!("{prefix}{index:06}3")
}

fn index(prefix: &str, phone: &str) -> Option<usize> {
    phone.strip_prefix(prefix)?.strip_suffix('3')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn crowd(people: usize, hears: bool, variety: f64, seed: u64) -> Crowd {
        Crowd::new(&crate::bodies::Account::new("1065").into(), people, hears, variety, seed)
    }

    fn sent(to: &str, kind: &str, content: serde_json::Value) -> Sent {
        let (to, kind, wamid) = (to.to_owned(), kind.to_owned(), "wamid.ours".to_owned());
        Sent { to, kind, wamid, content, ..Sent::default() }
    }

    fn hello(to: &str) -> Sent {
        sent(to, "text", serde_json::json!({"body": "Hello"}))
    }

    fn lines(said: Said) -> Vec<String> {
        let texts = said.acts.into_iter().filter_map(|act| match act {
            Act::Text { text, .. } => Some(text),
            _ => None,
        });
        texts.collect()
    }

    #[test]
    fn a_customer_tells_a_matter_to_the_end_asking_again_while_nobody_answers() {
        let mut crowd = crowd(1, true, 0.0, 1);
        let mut chance = StdRng::seed_from_u64(7);
        let language = &LANGUAGES[0];
        let talk = &language.talks[0];
        assert_eq!(lines(crowd.speak(&mut chance)), talk.opening);
        assert!(language.nudges.contains(&lines(crowd.speak(&mut chance))[0].as_str()));
        for line in talk.then {
            assert!(crowd.hear(&hello("15550000003")));
            assert_eq!(lines(crowd.speak(&mut chance)), [*line]);
        }
        assert!(crowd.hear(&hello("15550000003")));
        assert_eq!(lines(crowd.speak(&mut chance)), language.talks[1].opening);
        assert!(!crowd.hear(&hello("15550000013")));
        assert!(!crowd.hear(&hello("491701234567")));
    }

    #[test]
    fn whoever_gets_buttons_presses_one_and_everything_said_can_be_done() {
        let mut crowd = crowd(3, true, 1.0, 1);
        let mut chance = StdRng::seed_from_u64(7);
        let account = crate::bodies::Account::new("1065");
        let button =
            |id: &str| serde_json::json!({"type": "reply", "reply": {"id": id, "title": id}});
        let buttons = serde_json::json!({
            "type": "button", "action": {"buttons": [button("yes"), button("no")]},
        });
        let mut pressed = 0;
        for _ in 0..300 {
            let said = crowd.speak(&mut chance);
            pressed += usize::from(matches!(said.acts[0], Act::Press { .. }));
            for act in &said.acts {
                crowd.person(said.who).act(&account, act, 1).unwrap();
            }
            crowd.hear(&sent(&phone("1555", said.who), "interactive", buttons.clone()));
        }
        assert!(pressed > 200, "{pressed}");
    }

    #[test]
    fn the_same_seed_says_the_same() {
        let run = || {
            let crowd = crowd(50, false, 0.5, 1);
            let (mut crowd, mut chance) = (crowd, StdRng::seed_from_u64(3));
            (0..200).map(|_| crowd.speak(&mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn nobody_writes_from_a_number_that_fails_and_every_burst_fits() {
        for index in 0..1000 {
            let phone = phone("1555", index);
            assert_eq!(super::index("1555", &phone), Some(index));
            assert_eq!(crate::failure::Tries::default().next(&phone), crate::failure::Fate::Accept);
        }
        let talks = LANGUAGES.iter().flat_map(|language| language.talks);
        assert!(talks.into_iter().all(|talk| (1..=3).contains(&talk.opening.len())));
    }
}
