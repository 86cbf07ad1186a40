//! Troubles that are asked for: the next requests fail, slow down, or lose their connection.

use serde::{Deserialize, Serialize};

/// Troubles that wait for their requests; beyond it new ones are refused.
const PLANNED: usize = 1_000;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trouble", rename_all = "snake_case")]
pub enum Trouble {
    /// It is refused with this code of the Graph API.
    Error { code: u32 },
    /// The same, and its answer says how long to wait: in `Retry-After`, or, for a code with which
    /// business accounts are throttled (80000 and more), in `X-Business-Use-Case-Usage`, in minutes.
    Throttled { code: u32, seconds: u64 },
    /// It is answered 502 with a page of HTML; nothing happens.
    Html,
    /// It is answered 429 without a body; nothing happens.
    TooMany,
    /// It is answered 404, as where a medium's address is over; nothing happens.
    Expired,
    /// Its connection is reset; nothing happens.
    ResetBefore,
    /// It is done, and then its connection is reset.
    ResetAfter,
    /// It is done, and never answered.
    HangAfter,
    /// It is done, and half of the answer comes.
    Truncated,
    /// It is answered so much later, simulated time.
    Slow { ms: u64 },
}

/// A trouble, and which requests it meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    #[serde(flatten)]
    pub trouble: Trouble,
    /// So many of them.
    #[serde(default = "once")]
    pub times: u32,
    /// Of this number, account or whatever the path begins with; else of any.
    #[serde(default)]
    pub id: Option<String>,
    /// Of this part of it, such as `messages`; else of any.
    #[serde(default)]
    pub edge: Option<String>,
}

fn once() -> u32 {
    1
}

impl Plan {
    /// The next so many sends of any number.
    pub fn next_sends(times: u32, trouble: Trouble) -> Self {
        Self { trouble, times, id: None, edge: Some("messages".to_owned()) }
    }
}

/// What is planned, in the order in which it was asked for.
#[derive(Debug, Default)]
pub(super) struct Troubles(Vec<Plan>);

impl Troubles {
    /// Plans one; false when there are too many.
    pub(super) fn add(&mut self, plan: Plan) -> bool {
        let has_room = self.0.len() < PLANNED;
        if has_room && plan.times > 0 {
            self.0.push(plan);
        }
        has_room
    }

    /// How many requests are still to be met.
    pub(super) fn planned(&self) -> u32 {
        self.0.iter().map(|plan| plan.times).sum()
    }

    /// What is wrong with this request.
    pub(super) fn meet(&mut self, id: &str, edge: &str) -> Option<Trouble> {
        let is = |wanted: &Option<String>, it: &str| wanted.as_deref().is_none_or(|is| is == it);
        let at = self.0.iter().position(|plan| is(&plan.id, id) && is(&plan.edge, edge))?;
        let plan = &mut self.0[at];
        let trouble = plan.trouble;
        plan.times -= 1;
        if plan.times == 0 {
            self.0.remove(at);
        }
        Some(trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_meets_as_many_requests_as_asked_and_only_those_it_is_for() {
        let mut troubles = Troubles::default();
        let only = |id: &str| Some(id.to_owned());
        let plan = Plan { id: only("1"), ..Plan::next_sends(2, Trouble::Html) };
        assert!(troubles.add(plan));
        assert!(troubles.add(Plan::next_sends(1, Trouble::TooMany)));
        assert_eq!((troubles.meet("1", "media"), troubles.planned()), (None, 3));
        assert_eq!(troubles.meet("2", "messages"), Some(Trouble::TooMany));
        assert_eq!(troubles.meet("1", "messages"), Some(Trouble::Html));
        assert_eq!(troubles.meet("1", "messages"), Some(Trouble::Html));
        assert_eq!((troubles.meet("1", "messages"), troubles.planned()), (None, 0));
    }
}
