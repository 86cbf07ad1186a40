//! How far an account is subscribed and registered at its provider, and when either is tried again:
//! a number takes only so many registrations, whoever asks for them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountStatus, Known};
use crate::time::Timestamp;

/// How far an account is subscribed and registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its webhooks are delivered.
    #[serde(default)]
    pub subscribed: bool,
    /// It may send.
    #[serde(default)]
    pub registered: bool,
    /// When it was tried to register it, the oldest first, as long as the provider counts them.
    #[serde(default)]
    pub tries: Vec<Timestamp>,
    /// The provider's words about what could not be done.
    #[serde(default)]
    pub refused: Option<String>,
    /// The provider has subscribed it once, by its own token: it is whose it is said to be.
    #[serde(default)]
    pub proven: bool,
    /// The provider has said no when it was asked for it by its own token, and nothing better since.
    #[serde(default)]
    pub denied: bool,
}

/// What is to be asked of the provider now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    pub subscribe: bool,
    pub register: bool,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    /// It did not reach the provider, which counts nothing.
    NotAsked(String),
    /// The provider's words, or why nobody knows whether it is done.
    Failed(String),
}

/// For how long the provider counts registrations (Cloud API reference, "Registration"): ten.
const COUNTED_FOR: Duration = Duration::from_secs(72 * 60 * 60);
/// Half of them are left to people, and to other programs.
const TRIES_MAX: usize = 5;
/// What failed is not tried again sooner, unless somebody has looked after it.
const APART: Duration = Duration::from_secs(60 * 60);

impl Registration {
    /// What is to be asked now. A registration counts from here on, whatever becomes of it. `mended`:
    /// somebody has changed what was perhaps wrong.
    pub fn begin(&mut self, mended: bool, now: Timestamp) -> Steps {
        self.tries.retain(|at| now < *at + COUNTED_FOR);
        let register = self.next_try(mended, now).is_some_and(|at| at <= now);
        if register {
            self.tries.push(now);
        }
        Steps { subscribe: !self.subscribed, register }
    }

    /// When it may be registered; `None`: it is.
    pub fn next_try(&self, mended: bool, now: Timestamp) -> Option<Timestamp> {
        if self.registered {
            return None;
        }
        let last = self.tries.last().map_or(now, |last| *last + APART);
        let rested = if mended { now } else { last.max(now) };
        let counted = match self.tries.len().checked_sub(TRIES_MAX) {
            Some(surplus) => self.tries[surplus] + COUNTED_FOR,
            None => now,
        };
        Some(rested.max(counted))
    }

    fn end(&mut self, subscribed: Option<Step>, registered: Option<Step>) {
        let mut refused = None;
        match subscribed {
            None => {}
            Some(Step::Done) => (self.subscribed, self.proven) = (true, true),
            Some(Step::NotAsked(words) | Step::Failed(words)) => refused = Some(words),
        }
        match registered {
            None if !self.registered => refused = refused.or(self.refused.take()),
            None => {}
            Some(Step::Done) => self.registered = true,
            Some(Step::NotAsked(words)) => {
                self.tries.pop();
                refused = Some(words);
            }
            Some(Step::Failed(words)) => refused = Some(words),
        }
        self.refused = refused;
    }
}

impl Account {
    /// What could not be done when it was connected, or was not yet.
    pub fn unregistered(&self) -> Option<&str> {
        let registration = self.registration.as_ref()?;
        let not_yet = match registration {
            Registration { subscribed: false, .. } => "it is not subscribed at the provider yet",
            Registration { registered: false, .. } => "it is not registered at the provider yet",
            _ => return registration.refused.as_deref(),
        };
        registration.refused.as_deref().or(Some(not_yet))
    }

    /// Whether its webhooks are delivered, as far as is known. One that was connected otherwise is
    /// taken to be.
    pub fn is_subscribed(&self) -> bool {
        self.registration.as_ref().is_none_or(|registration| registration.subscribed)
    }

    /// Whether the provider has ever subscribed it.
    pub fn is_proven(&self) -> bool {
        let proven = |registration: &Registration| registration.proven || registration.subscribed;
        self.registration.as_ref().is_none_or(proven)
    }

    /// Whether the provider says that it is not whose it is said to be, as far as is known: it leaves
    /// its key to somebody for whom it answers.
    pub fn is_denied(&self) -> bool {
        !self.is_proven() && self.registration.as_ref().is_some_and(|it| it.denied)
    }

    /// Its webhooks have to be asked for once more.
    pub fn resubscribe(&mut self) {
        let proven = self.is_proven();
        let Some(registration) = &mut self.registration else { return };
        (registration.subscribed, registration.proven) = (false, proven);
        if self.status == AccountStatus::Connected {
            self.status_detail = self.unregistered().map(str::to_owned);
            self.status = AccountStatus::Attention;
        }
    }

    /// Begins to have it subscribed and registered, as far as it is not. One that was connected
    /// otherwise is left alone.
    pub fn begin_registration(&mut self, known: &Known, mended: bool, now: Timestamp) -> Steps {
        let Some(registration) = &mut self.registration else { return Steps::default() };
        // A number that is used in the phone's app is registered there.
        registration.registered |= known.in_app;
        registration.begin(mended, now)
    }

    /// Follows what became of that.
    pub fn end_registration(&mut self, subscribed: Option<Step>, registered: Option<Step>) {
        let was_unregistered = self.unregistered().is_some();
        let Some(registration) = &mut self.registration else { return };
        registration.end(subscribed, registered);
        // What is worse, or said by others, stays as it is.
        if self.paused || self.heard.is_standing || self.status == AccountStatus::Disabled {
            return;
        }
        match self.unregistered().map(str::to_owned) {
            Some(words) => {
                (self.status, self.status_detail) = (AccountStatus::Attention, Some(words));
            }
            None if was_unregistered => {
                (self.status, self.status_detail) = (AccountStatus::Connected, None);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::{APART, COUNTED_FOR, Registration, Step, Steps, TRIES_MAX};
    use crate::account::{Account, AccountStatus, Known, Trouble};
    use crate::channel::Channel;
    use crate::id::{AccountId, TenantId};
    use crate::time::Timestamp;

    const START: Timestamp = Timestamp(1_700_000_000_000);

    fn account() -> Account {
        let (id, tenant) = (AccountId(Uuid::nil()), TenantId(Uuid::nil()));
        let account = Account::new(id, tenant, Channel::Whatsapp, "7", "Shop", START);
        Account { registration: Some(Registration::default()), ..account }
    }

    fn failed(words: &str) -> Option<Step> {
        Some(Step::Failed(words.to_owned()))
    }

    #[test]
    fn a_registration_that_fails_is_tried_again_after_an_hour_or_when_it_is_mended() {
        let mut account = account();
        let both = Steps { subscribe: true, register: true };
        assert_eq!(account.begin_registration(&Known::default(), false, START), both);
        account.end_registration(Some(Step::Done), failed("133005: the pin"));
        assert_eq!(account.status, AccountStatus::Attention);
        assert_eq!(account.status_detail.as_deref(), Some("133005: the pin"));
        let soon = START + Duration::from_secs(60);
        assert_eq!(account.begin_registration(&Known::default(), false, soon), Steps::default());
        account.end_registration(None, None);
        assert_eq!(account.unregistered(), Some("133005: the pin"), "it is not forgotten");
        let only = Steps { register: true, ..Steps::default() };
        assert_eq!(account.begin_registration(&Known::default(), true, soon), only);
        account.end_registration(None, failed("133005: the pin"));
        assert_eq!(account.begin_registration(&Known::default(), false, soon + APART), only);
        account.end_registration(None, Some(Step::Done));
        assert_eq!((account.status, account.unregistered()), (AccountStatus::Connected, None));
        assert_eq!(
            account.begin_registration(&Known::default(), true, soon + APART),
            Steps::default()
        );
    }

    #[test]
    fn however_often_it_is_mended_the_provider_is_asked_less_often_than_it_takes() {
        let mut registration = Registration { subscribed: true, ..Registration::default() };
        let at = |minute: u64| START + Duration::from_secs(minute * 60);
        let minutes = COUNTED_FOR.as_secs() / 60;
        let tries: Vec<_> = (0..=minutes)
            .filter(|minute| {
                let is_tried = registration.begin(true, at(*minute)).register;
                if is_tried {
                    registration.end(None, failed("no"));
                }
                is_tried
            })
            .collect();
        assert_eq!(tries.len(), TRIES_MAX + 1, "the first of them does not count any more");
        assert_eq!(registration.next_try(true, at(minutes)), Some(at(minutes + 1)));
        assert_eq!(tries.last(), Some(&minutes));
    }

    #[test]
    fn what_never_reached_the_provider_does_not_count() {
        let mut account = account();
        for _ in 0..3 * TRIES_MAX {
            assert!(account.begin_registration(&Known::default(), false, START).register);
            let not = || Some(Step::NotAsked("the provider cannot be reached".to_owned()));
            account.end_registration(not(), not());
            assert_eq!(account.status, AccountStatus::Attention);
        }
    }

    #[test]
    fn a_number_that_is_used_in_the_phone_s_app_is_only_subscribed() {
        let mut account = account();
        let in_app = Known { in_app: true, ..Known::default() };
        let only = Steps { subscribe: true, ..Steps::default() };
        assert_eq!(account.begin_registration(&in_app, true, START), only);
        account.end_registration(Some(Step::Done), None);
        assert_eq!(account.begin_registration(&in_app, true, START), Steps::default());
    }

    #[test]
    fn an_account_that_was_connected_otherwise_is_left_alone() {
        let mut account = Account { registration: None, ..account() };
        assert_eq!(account.begin_registration(&Known::default(), true, START), Steps::default());
        account.end_registration(failed("no"), failed("no"));
        assert_eq!(account.status, AccountStatus::Connected);
    }

    #[test]
    fn what_is_not_done_yet_is_not_well_and_says_so() {
        let mut account = account();
        account.asked(&Ok(Known::default()));
        assert_eq!(account.status, AccountStatus::Attention);
        assert!(account.status_detail.as_ref().unwrap().contains("not subscribed"));
        account.begin_registration(&Known::default(), true, START);
        // It was cut off while it was registered: the try counts.
        let only = Steps { subscribe: true, ..Steps::default() };
        assert_eq!(account.begin_registration(&Known::default(), false, START), only);
        account.end_registration(Some(Step::Done), None);
        assert!(account.status_detail.as_ref().unwrap().contains("not registered"));
        assert_eq!(account.status, AccountStatus::Attention);
        account.end_registration(None, Some(Step::Done));
        assert_eq!((account.status, &account.status_detail), (AccountStatus::Connected, &None));
        account.resubscribe();
        assert_eq!(account.status, AccountStatus::Attention);
        assert!(account.is_proven() && !account.is_subscribed());
    }

    #[test]
    fn a_key_is_left_only_by_whom_the_provider_has_said_no_to_and_never_subscribed() {
        let mut account = account();
        assert!(!account.is_denied(), "perhaps it is being connected");
        let silent = Trouble { words: "no answer".to_owned(), ..Trouble::default() };
        account.asked(&Err(silent.clone()));
        assert!(!account.is_denied(), "nobody knows");
        let (words, pauses, of_token) = ("190: token".to_owned(), true, true);
        account.asked(&Err(Trouble { words, pauses, of_token, denies: true }));
        account.asked(&Err(silent));
        assert!(account.is_denied() && !account.is_proven());
        account.end_registration(Some(Step::Done), failed("no"));
        assert!(account.is_proven() && !account.is_denied());
        account.resubscribe();
        account.end_registration(failed("no"), failed("no"));
        assert!(account.is_proven() && !account.is_denied(), "it was once");
        let other = Account { registration: None, ..account };
        assert!(other.is_proven() && !other.is_denied(), "it was connected otherwise");
    }

    #[test]
    fn what_the_provider_denies_when_it_is_asked_again_counts_until_it_answers() {
        let mut account = account();
        account.asked(&Err(Trouble { words: "no answer".to_owned(), ..Trouble::default() }));
        let no = Trouble { words: "100: no".to_owned(), denies: true, ..Trouble::default() };
        assert!(!account.is_denied());
        assert!(account.asked_again(&Err(no), START), "it is written down");
        assert!(account.is_denied());
        assert!(account.asked_again(&Ok(Known::default()), START));
        assert!(!account.is_denied(), "and so is that it answers, whatever is still to be done");
    }
}
