//! The people, and where each of them is in a talk.

use std::collections::VecDeque;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::phrases::{LANGUAGES, Language};

/// Phone numbers are `1555`, six digits, and a 3, which no scripted failure ends in.
const MOST: usize = 1_000_000;
/// The share of turns that go to somebody who was answered, when there is one.
const ANSWERED_FIRST: f64 = 0.8;
/// The share of answers that quote the message they answer.
const QUOTES: f64 = 0.2;

/// What one person writes in one go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) name: String,
    /// Digits only.
    pub(super) phone: String,
    /// One to three messages.
    pub(super) lines: Vec<&'static str>,
    /// The provider's id of the quoted message.
    pub(super) reply_to: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Person {
    /// How many talks came before.
    talks: usize,
    /// Turns taken in this talk.
    turns: usize,
    /// Asked something, and heard nothing yet.
    waits: bool,
    /// The business's last message, until answered.
    heard: Option<String>,
}

#[derive(Debug)]
pub(super) struct Crowd {
    people: Vec<Person>,
    /// Those who were answered, each once.
    answered: VecDeque<usize>,
    /// Whether they can hear the business at all.
    hears: bool,
}

impl Crowd {
    pub(super) fn new(people: usize, hears: bool) -> Self {
        let people = vec![Person::default(); people.clamp(1, MOST)];
        Self { people, answered: VecDeque::new(), hears }
    }

    /// The business wrote to this number; false when it is nobody's here.
    pub(super) fn hear(&mut self, phone: &str, wamid: String) -> bool {
        let Some(index) = index(phone) else { return false };
        let Some(person) = self.people.get_mut(index) else { return false };
        if person.heard.replace(wamid).is_none() && person.turns > 0 {
            self.answered.push_back(index);
        }
        person.waits = false;
        true
    }

    /// Somebody takes a turn.
    pub(super) fn speak(&mut self, chance: &mut StdRng) -> Said {
        let answered = !self.answered.is_empty() && chance.random_bool(ANSWERED_FIRST);
        let index = match self.answered.pop_front_if(|_| answered) {
            Some(index) => index,
            None => chance.random_range(0..self.people.len()),
        };
        let person = &mut self.people[index];
        let language = &LANGUAGES[index % LANGUAGES.len()];
        let heard = person.heard.take();
        if heard.is_some() && !answered {
            self.answered.retain(|&other| other != index);
        }
        let lines = person.next(language, chance);
        person.waits = self.hears;
        let reply_to = heard.filter(|_| chance.random_bool(QUOTES));
        Said { name: name(language, index / LANGUAGES.len()), phone: phone(index), lines, reply_to }
    }
}

impl Person {
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

fn phone(index: usize) -> String {
    format!("1555{index:06}3")
}

fn index(phone: &str) -> Option<usize> {
    phone.strip_prefix("1555")?.strip_suffix('3')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_customer_tells_a_matter_to_the_end_asking_again_while_nobody_answers() {
        let mut crowd = Crowd::new(1, true);
        let mut chance = StdRng::seed_from_u64(7);
        let language = &LANGUAGES[0];
        let talk = &language.talks[0];
        assert_eq!(crowd.speak(&mut chance).lines, talk.opening);
        assert!(language.nudges.contains(&crowd.speak(&mut chance).lines[0]));
        for line in talk.then {
            assert!(crowd.hear("15550000003", "wamid.ours".into()));
            assert_eq!(crowd.speak(&mut chance).lines, [*line]);
        }
        assert!(crowd.hear("15550000003", "wamid.ours".into()));
        assert_eq!(crowd.speak(&mut chance).lines, language.talks[1].opening);
        assert!(!crowd.hear("15550000013", "wamid.ours".into()));
        assert!(!crowd.hear("491701234567", "wamid.ours".into()));
    }

    #[test]
    fn the_same_seed_says_the_same() {
        let run = || {
            let (mut crowd, mut chance) = (Crowd::new(50, false), StdRng::seed_from_u64(3));
            (0..200).map(|_| crowd.speak(&mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn nobody_writes_from_a_number_that_fails_and_every_burst_fits() {
        for index in 0..1000 {
            let phone = phone(index);
            assert_eq!(super::index(&phone), Some(index));
            assert_eq!(crate::failure::Tries::default().next(&phone), crate::failure::Fate::Accept);
        }
        let talks = LANGUAGES.iter().flat_map(|language| language.talks);
        assert!(talks.into_iter().all(|talk| (1..=3).contains(&talk.opening.len())));
    }
}
