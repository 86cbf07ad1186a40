//! The review of a template, and what becomes of it afterwards; each told by webhook.

use std::sync::Arc;

use serde_json::Value;

use crate::bodies::Account;
use crate::bodies::events::{self, TemplateName};
use crate::error::{self, GraphError};
use crate::failure;
use crate::graph::desk::Desk;

/// The states that can be settled from outside.
const STATES: [&str; 7] =
    ["APPROVED", "REJECTED", "PAUSED", "DISABLED", "FLAGGED", "PENDING", "ARCHIVED"];

/// Lets a review go on by itself; its name decides how it ends.
pub(super) fn begin(desk: &Arc<Desk>, id: u64) {
    let (on, review) = (Arc::clone(desk), desk.options.review);
    let began = desk.clock.passed();
    desk.spawn(async move {
        on.clock.sleep_until(began + review).await;
        // Deleted or settled in the meantime, there is nothing to review.
        let name = on.state().templates.all.get(&id).filter(|it| it.status == "PENDING").cloned();
        let Some(template) = name else { return };
        let (verdict, then) = failure::of_review(&template.draft.name);
        let reason = if verdict == "REJECTED" { "INVALID_FORMAT" } else { "NONE" };
        tell(&on, id, verdict, reason).await;
        if let Some(then) = then {
            on.clock.sleep_until(began + review * 2).await;
            tell(&on, id, then, "NONE").await;
        }
    });
}

/// Puts a template into this state, and says so by webhook; ends when that was delivered.
pub(in crate::graph) async fn settle(
    desk: &Arc<Desk>,
    id: &str,
    state: &str,
) -> Result<(), GraphError> {
    let state = STATES.into_iter().find(|known| *known == state);
    let state = state.ok_or_else(|| GraphError::invalid(format!("States: {STATES:?}")))?;
    let id = id.parse().map_err(|_| error::UNKNOWN_OBJECT)?;
    let reason = if state == "REJECTED" { "ABUSIVE_CONTENT" } else { "NONE" };
    match tell(desk, id, state, reason).await {
        true => Ok(()),
        false => Err(error::UNKNOWN_OBJECT),
    }
}

async fn tell(desk: &Arc<Desk>, id: u64, status: &'static str, reason: &'static str) -> bool {
    let told: Option<(Account, Value)> = {
        let mut state = desk.state();
        state.templates.all.get_mut(&id).map(|template| {
            (template.status, template.reason) = (status, reason);
            let name = TemplateName {
                id,
                name: &template.draft.name,
                language: &template.draft.language,
                category: &template.draft.category,
            };
            let (waba_id, at) = (&template.waba_id, desk.clock.now());
            let webhook = events::template_status(waba_id, &name, at, status, reason);
            (Account { waba_id: waba_id.clone(), ..Account::new("") }, webhook)
        })
    };
    let Some((account, webhook)) = told else { return false };
    desk.deliver(&account, webhook).await;
    true
}
