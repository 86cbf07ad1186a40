//! What a provider says of an account, and what that makes of it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountStatus, Throughput};
use crate::time::Timestamp;

/// Something that a provider says of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The provider's name for what happened, e.g. `account_restriction`.
    pub kind: String,
    /// What a person would want to know of it.
    pub words: String,
    /// When the provider says it happened.
    pub at: Option<Timestamp>,
    /// The number that is meant, as digits, where it is one of several.
    pub phone: Option<String>,
    pub means: Means,
    /// How many people may be written to first in a day, in the provider's words.
    pub messaging_limit: Option<String>,
}

/// What news mean for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Every message would be refused, as far as is known until then.
    Stops { until: Option<Timestamp> },
    /// What earlier news stopped, or warned of, is over.
    Resumes,
    /// Somebody has to look after it.
    Warns,
    /// It is good to know.
    Tells,
    /// It may send much faster from now on.
    Upgraded,
}

/// News as an account's answer shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// The provider's name for what happened.
    pub kind: String,
    pub message: String,
    /// When it came.
    pub at: Timestamp,
}

/// What news made of an account, to be known when more come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The newest first, at most [`NOTICES_MAX`].
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// The status is what news made it: others may take it back.
    #[serde(default)]
    pub is_standing: bool,
    /// When that happened, as the provider says: what is older changes nothing any more.
    #[serde(default)]
    pub at: Option<Timestamp>,
    #[serde(default)]
    pub messaging_limit: Option<String>,
    /// When the oldest message of its history was written.
    #[serde(default)]
    pub history_since: Option<Timestamp>,
}

/// History that is older is not in lists: nobody hands over so much.
const HISTORY_LISTED: Duration = Duration::from_secs(3 * 365 * 24 * 60 * 60);
/// So many notices of an account are kept.
pub const NOTICES_MAX: usize = 20;

impl Account {
    /// Follows news. Answers whether they change anything.
    pub fn hear(&mut self, news: &News, now: Timestamp) -> bool {
        let before = self.clone();
        let is_old = news.at.is_some() && news.at < self.heard.at;
        let standing = match news.means {
            _ if is_old => None,
            Means::Stops { until } if until.is_some_and(|until| until <= now) => {
                Some((AccountStatus::Attention, false, None))
            }
            Means::Stops { until } => Some((AccountStatus::Attention, true, until)),
            // One that is stopped does not send again because of a lesser trouble.
            Means::Warns if self.is_paused(now) => None,
            Means::Warns => Some((AccountStatus::Attention, false, None)),
            Means::Resumes if self.heard.is_standing => {
                Some((AccountStatus::Connected, false, None))
            }
            Means::Resumes | Means::Tells | Means::Upgraded => None,
        };
        if let Some((status, paused, until)) = standing {
            (self.status, self.paused, self.paused_until) = (status, paused, until);
            let is_well = status == AccountStatus::Connected;
            self.status_detail = (!is_well).then(|| news.words.clone());
            self.heard.is_standing = !is_well;
            self.heard.at = news.at.or(self.heard.at);
        }
        if news.means == Means::Upgraded {
            self.throughput = Some(Throughput::High);
        }
        if news.messaging_limit.is_some() && !is_old {
            self.heard.messaging_limit.clone_from(&news.messaging_limit);
        }
        // The same once more: it was delivered again.
        let last = self.heard.notices.iter().find(|notice| notice.kind == news.kind);
        if *self != before || last.is_none_or(|last| last.message != news.words) {
            let (kind, message) = (news.kind.clone(), news.words.clone());
            self.heard.notices.insert(0, Notice { kind, message, at: now });
            self.heard.notices.truncate(NOTICES_MAX);
        }
        *self != before
    }

    /// Its history reaches back so far: lists have to look there, too. Answers whether that is news.
    pub fn reaches_back_to(&mut self, oldest: Timestamp, now: Timestamp) -> bool {
        let oldest = oldest.max(now - HISTORY_LISTED);
        let known = self.heard.history_since;
        let is_older = known.is_none_or(|known| oldest < known);
        if is_older {
            self.heard.history_since = Some(oldest);
        }
        is_older
    }

    /// Whether the provider would refuse every message now.
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.paused && self.paused_until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::{Means, NOTICES_MAX, News};
    use crate::account::{Account, AccountStatus, Known, Throughput, Trouble};
    use crate::channel::Channel;
    use crate::id::{AccountId, TenantId};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn account() -> Account {
        let (id, tenant) = (AccountId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        Account::new(id, tenant, Channel::Whatsapp, "7001", "Shop", NOW)
    }

    fn news(kind: &str, means: Means, secs: Option<u64>) -> News {
        News {
            kind: kind.to_owned(),
            words: format!("{kind} happened"),
            at: secs.map(|secs| NOW + Duration::from_secs(secs)),
            phone: None,
            means,
            messaging_limit: None,
        }
    }

    #[test]
    fn what_news_stopped_news_resume_and_nothing_else() {
        let mut account = account();
        let stop = news("disabled", Means::Stops { until: None }, Some(1));
        assert!(account.hear(&stop, NOW));
        assert!(!account.hear(&stop, NOW), "delivered again");
        assert!(!account.can_send(NOW));
        assert_eq!(account.status_detail.as_deref(), Some("disabled happened"));
        account.hear(&news("violation", Means::Warns, Some(2)), NOW);
        assert!(!account.can_send(NOW), "a lesser trouble resumes nothing");
        account.hear(&news("early", Means::Resumes, Some(0)), NOW);
        assert!(!account.can_send(NOW), "what is older resumes nothing");
        account.hear(&news("reinstated", Means::Resumes, Some(3)), NOW);
        assert!(account.can_send(NOW));
        assert_eq!(
            (account.status, account.status_detail.as_deref()),
            (AccountStatus::Connected, None)
        );
        account.stands(Err(Trouble {
            words: "190: token".to_owned(),
            pauses: true,
            of_token: true,
        }));
        account.hear(&news("reinstated", Means::Resumes, Some(4)), NOW);
        assert!(!account.can_send(NOW), "a token is not renewed by news");
    }

    #[test]
    fn to_ask_again_mends_what_could_not_be_asked_and_nothing_that_somebody_has_to_look_after() {
        let trouble = |pauses| Trouble { words: "no".to_owned(), pauses, of_token: pauses };
        let mut account = account();
        assert!(!account.asked_again(&Ok(Known::default()), NOW), "it was well before");
        assert!(!account.asked_again(&Err(trouble(false)), NOW), "nobody knows");
        account.stands(Err(trouble(false)));
        assert!(account.asked_again(
            &Ok(Known { throughput: Some(Throughput::High), ..Known::default() }),
            NOW
        ));
        assert_eq!(account.standing(), (AccountStatus::Connected, None, false));
        assert_eq!(account.throughput, Some(Throughput::High));
        assert!(account.asked_again(&Err(trouble(true)), NOW));
        assert!(!account.can_send(NOW));
        assert!(!account.asked_again(&Ok(Known::default()), NOW), "somebody has to look after it");
        account.stands(Ok(None));
        account.hear(&news("restricted", Means::Stops { until: None }, Some(1)), NOW);
        assert!(
            !account.asked_again(&Ok(Known::default()), NOW),
            "its number answers all the same"
        );
        assert!(!account.can_send(NOW));
    }

    #[test]
    fn a_stop_that_ends_ends_by_itself() {
        let mut account = account();
        let until = NOW + Duration::from_secs(60);
        account.hear(&news("restricted", Means::Stops { until: Some(until) }, None), NOW);
        assert!(!account.can_send(NOW));
        assert!(account.can_send(until));
        let over = news("restricted", Means::Stops { until: Some(NOW) }, None);
        let mut other = self::account();
        other.hear(&over, NOW);
        assert!(other.can_send(NOW), "it was over when it came");
        assert_eq!(other.status, AccountStatus::Attention);
    }

    #[test]
    fn so_many_notices_are_kept_and_the_newest_first() {
        let mut account = account();
        for n in 0..=NOTICES_MAX {
            account.hear(&news(&format!("n{n}"), Means::Tells, None), NOW);
        }
        assert_eq!(account.heard.notices.len(), NOTICES_MAX);
        assert_eq!(account.heard.notices[0].kind, format!("n{NOTICES_MAX}"));
        assert_eq!(account.status, AccountStatus::Connected);
    }
}
