//! How sends ended, counted by number and by recipient.

use std::collections::BTreeMap;

use serde::Serialize;

/// Numbers, and recipients of one number, that are counted; those met later are not.
const NUMBERS: usize = 10_000;
const RECIPIENTS: usize = 100_000;

/// How sends of one number, or of one number to one recipient, ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Passed {
    pub accepted: u64,
    /// By the error's code; 0: without one.
    pub refused: BTreeMap<u32, u64>,
}

impl Passed {
    fn count(&mut self, refused: Option<u32>) {
        match refused {
            None => self.accepted += 1,
            Some(code) => *self.refused.entry(code).or_default() += 1,
        }
    }

    /// How many were refused with this code.
    pub fn refused_with(&self, code: u32) -> u64 {
        self.refused.get(&code).copied().unwrap_or_default()
    }
}

/// How a number's sends ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NumberTraffic {
    /// All together.
    pub all: Passed,
    /// By recipient, where the request named one.
    pub recipients: BTreeMap<String, Passed>,
}

/// How sends ended, by phone number id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic(pub BTreeMap<String, NumberTraffic>);

impl Traffic {
    /// Of this number.
    pub fn number(&self, phone_number_id: &str) -> Passed {
        self.0.get(phone_number_id).map(|number| number.all.clone()).unwrap_or_default()
    }

    /// Of this number to this recipient.
    pub fn pair(&self, phone_number_id: &str, to: &str) -> Passed {
        let recipients = self.0.get(phone_number_id).map(|number| &number.recipients);
        recipients.and_then(|all| all.get(to)).cloned().unwrap_or_default()
    }

    pub(super) fn count(&mut self, number: &str, to: Option<&str>, refused: Option<u32>) {
        if self.0.len() >= NUMBERS && !self.0.contains_key(number) {
            return;
        }
        let number = self.0.entry(number.to_owned()).or_default();
        number.all.count(refused);
        let Some(to) = to else { return };
        if number.recipients.len() < RECIPIENTS || number.recipients.contains_key(to) {
            number.recipients.entry(to.to_owned()).or_default().count(refused);
        }
    }
}
