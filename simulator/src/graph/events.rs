//! What Meta does to numbers and business accounts, and tells of by webhook.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::numbers::Quality;
use crate::bodies::events;

const DAY: Duration = Duration::from_hours(24);
/// Messages a second of a number whose throughput was raised.
const HIGH: u32 = 1_000;

/// What happens to a number or its business account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum AccountEvent {
    /// Customers think so of the number: red is flagged, anything better is not.
    Quality { quality: Quality },
    /// The number may send 1000 messages a second.
    ThroughputUpgrade,
    /// The number may not send for so many days of simulated time.
    Restricted { days: u32 },
    /// The business account broke this rule.
    Violation { violation: String },
    /// The business may write first to so many customers a day.
    Capability { customers_a_day: u32 },
}

/// Lets it happen, and ends when its webhook was delivered.
pub(super) async fn happen(
    desk: &Arc<Desk>,
    number: &str,
    event: &AccountEvent,
) -> Result<(), String> {
    let account = desk.account(number).ok_or("there is no such phone number id")?;
    let (waba_id, at) = (&account.waba_id, desk.clock.now());
    let webhook = match event {
        AccountEvent::Quality { quality } => {
            let before = std::mem::replace(&mut desk.state().numbers.of(number).quality, *quality);
            let event = match (before, quality) {
                (_, Quality::Red) => "FLAGGED",
                (Quality::Red, _) => "UNFLAGGED",
                (_, Quality::Yellow) => "DOWNGRADE",
                (_, Quality::Green) => "UPGRADE",
            };
            events::number_quality(&account, at, event, "TIER_10K")
        }
        AccountEvent::ThroughputUpgrade => {
            desk.state().limiter.set_throughput(number, HIGH);
            events::number_quality(&account, at, "THROUGHPUT_UPGRADE", "TIER_UNLIMITED")
        }
        AccountEvent::Restricted { days } => {
            let time = DAY * *days;
            desk.state().numbers.of(number).restricted_until = Some(desk.clock.passed() + time);
            let until = at + i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            let restriction = "RESTRICTED_CUSTOMER_INITIATED_MESSAGING";
            events::account_restricted(waba_id, at, restriction, until)
        }
        AccountEvent::Violation { violation } => events::account_violation(waba_id, at, violation),
        AccountEvent::Capability { customers_a_day } => {
            events::capability(waba_id, at, *customers_a_day)
        }
    };
    desk.deliver(&account, webhook).await;
    Ok(())
}
