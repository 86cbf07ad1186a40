//! What a change of settings leaves in the organization's activity: one entry for each thing that
//! callers see otherwise afterwards, written with the change.

use std::collections::BTreeSet;

use actors::tenants::{Caller, Changing, Held, TenantState};
use engine::account::Account;
use engine::activity::{Activity, Differences, Seen, Thing, differences};
use engine::identity::agent::Agent;
use engine::identity::api_key::ApiKey;
use engine::identity::role::Role;
use engine::integration::Integration;
use engine::quick_reply::QuickReply;
use engine::resource::{Row, SettingKind};
use uuid::Uuid;

use crate::app::App;
use crate::crud::Shown;
use crate::error::ApiError;

/// Notes what a change has changed so far, and who makes it.
pub fn note(app: &App, caller: &Caller, changing: &mut Changing) {
    let touched: BTreeSet<(SettingKind, Uuid)> = changing
        .touched()
        .map(|(kind, id)| match kind {
            // It is a part of the agent that is not shown.
            SettingKind::Credential => (SettingKind::Agent, id),
            kind => (kind, id),
        })
        .collect();
    let (before, after) = (changing.before.clone(), &changing.state);
    let by = after.agents.get(&caller.agent).or_else(|| before.agents.get(&caller.agent));
    let by = by.map(|agent| agent.name.clone()).unwrap_or_default();
    let done = touched.into_iter().filter_map(|(kind, id)| {
        let (thing, done, differences) = done(app, (&before, after), kind, id)?;
        let id = app.tenants.activity_id();
        let activity = Activity::new(id, (caller.agent, by.clone()), thing, done);
        Some(Activity { key: caller.key, differences, ..activity })
    });
    let done: Vec<_> = done.collect();
    done.into_iter().for_each(|activity| changing.note(activity));
}

/// Notes what somebody has changed of a thing that is no setting of ours.
pub async fn note_outside(
    app: &App,
    caller: &Caller,
    thing: Thing,
    (was, is): (&Seen, &Seen),
) -> Result<(), ApiError> {
    let differences = differences(was, is);
    if differences.fields.is_empty() {
        return Ok(());
    }
    let change = |changing: &mut Changing| {
        let by = changing.state.agents.get(&caller.agent);
        let by = (caller.agent, by.map(|agent| agent.name.clone()).unwrap_or_default());
        let activity = Activity::new(app.tenants.activity_id(), by, thing, "updated");
        changing.note(Activity { key: caller.key, differences, ..activity });
        Ok::<_, ApiError>(())
    };
    Ok(app.tenants.change(caller.tenant, change).await?)
}

type Done = (Thing, &'static str, Differences);

fn done(
    app: &App,
    states: (&TenantState, &TenantState),
    kind: SettingKind,
    id: Uuid,
) -> Option<Done> {
    match kind {
        SettingKind::Agent => done_to::<Agent>(app, states, id),
        SettingKind::Role => done_to::<Role>(app, states, id),
        SettingKind::ApiKey => done_to::<ApiKey>(app, states, id),
        SettingKind::Account => done_to::<Account>(app, states, id),
        SettingKind::Integration => done_to::<Integration>(app, states, id),
        SettingKind::QuickReply => done_to::<Row<QuickReply>>(app, states, id),
        // Not shown, or nobody's to change here.
        SettingKind::Tenant | SettingKind::Credential | SettingKind::UsedKey => None,
    }
}

fn done_to<T: Shown>(
    app: &App,
    (before, after): (&TenantState, &TenantState),
    id: Uuid,
) -> Option<Done> {
    let (was, is) = (seen::<T>(app, before, id), seen::<T>(app, after, id));
    let done = match (&was, &is) {
        (None, None) => return None,
        (None, Some(_)) => "created",
        (Some(_), Some(_)) => "updated",
        (Some(_), None) => "deleted",
    };
    let name = is.as_ref().or(was.as_ref()).and_then(Seen::name).map(str::to_owned);
    let differences = differences(&was.unwrap_or_default(), &is.unwrap_or_default());
    let thing = Thing { kind: T::NAME.to_lowercase().replace(' ', "_"), id, name };
    (!differences.fields.is_empty()).then_some((thing, done, differences))
}

fn seen<T: Shown>(app: &App, state: &TenantState, id: Uuid) -> Option<Seen> {
    let row = <T as Held>::rows(state).get(&T::Id::from(id))?;
    let shown = serde_json::to_value(row.view(app, state)).expect("answers are JSON");
    Some(Seen { shown, secrets: row.secrets(state) })
}
