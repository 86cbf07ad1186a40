//! A tenant's settings, as of some change, and a change in the making.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::account::Account;
use engine::activity::Activity;
use engine::id::{
    AccountId, AgentId, ApiKeyId, IntegrationId, QuickReplyId, RoleId, SessionId, TenantId,
};
use engine::identity::agent::{Agent, Credential};
use engine::identity::api_key::ApiKey;
use engine::identity::role::{Role, system_roles};
use engine::identity::session::Session;
use engine::integration::Integration;
use engine::permission::{Permissions, Viewer};
use engine::quick_reply::QuickReply;
use engine::resource::{Resource, Row, SettingKind};
use engine::tenant::Tenant;
use engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use storage::StoreError;
use storage::settings::{SettingChange, SettingRow};
use uuid::Uuid;

/// What made a resource whose id came from an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UsedBy {
    digest: [u8; 16],
    at: Timestamp,
    /// The resource, where it is one that was there.
    #[serde(default)]
    row: Option<Uuid>,
}

/// A change in the making: what is put is seen by the rest of the change.
pub struct Changing {
    /// The settings that are changed.
    pub before: Arc<TenantState>,
    pub state: TenantState,
    /// When the change is made.
    pub now: Timestamp,
    pub(super) changes: Vec<SettingChange>,
}

/// A resource that a tenant's state holds.
pub trait Held: Resource {
    /// All of them.
    fn rows(state: &TenantState) -> &BTreeMap<Self::Id, Arc<Self>>;
    /// All of them, to change.
    fn rows_mut(state: &mut TenantState) -> &mut BTreeMap<Self::Id, Arc<Self>>;
}

macro_rules! held {
    ($($rows:ident: $id:ty => $resource:ty;)*) => {
        /// A tenant's settings, as of some change.
        #[derive(Clone)]
        pub struct TenantState {
            pub tenant: Tenant,
            $(pub $rows: BTreeMap<$id, Arc<$resource>>,)*
            credentials: BTreeMap<AgentId, Arc<Credential>>,
            used: BTreeMap<Uuid, UsedBy>,
        }

        impl TenantState {
            /// Without any rows but the system's.
            fn blank(tenant: Tenant) -> Self {
                let since = tenant.created_at;
                let mut blank = Self {
                    tenant,
                    $($rows: BTreeMap::new(),)*
                    credentials: BTreeMap::new(),
                    used: BTreeMap::new(),
                };
                system_roles(since).into_iter().for_each(|role| blank.insert(role));
                blank
            }

            fn take(&mut self, kind: SettingKind, row: &SettingRow) -> Result<(), StoreError> {
                match kind {
                    SettingKind::Tenant => self.tenant = row.value()?,
                    $(<$resource>::KIND => self.insert::<$resource>(row.value()?),)*
                    SettingKind::Credential => {
                        self.credentials.insert(AgentId(row.id), Arc::new(row.value()?));
                    }
                    SettingKind::UsedKey => {
                        self.used.insert(row.id, row.value()?);
                    }
                }
                Ok(())
            }
        }

        $(impl Held for $resource {
            fn rows(state: &TenantState) -> &BTreeMap<Self::Id, Arc<Self>> {
                &state.$rows
            }

            fn rows_mut(state: &mut TenantState) -> &mut BTreeMap<Self::Id, Arc<Self>> {
                &mut state.$rows
            }
        })*
    };
}

// All that a new resource needs here is a line.
held! {
    agents: AgentId => Agent;
    roles: RoleId => Role;
    api_keys: ApiKeyId => ApiKey;
    accounts: AccountId => Account;
    integrations: IntegrationId => Integration;
    quick_replies: QuickReplyId => Row<QuickReply>;
}

/// Who calls, once its login was checked.
#[derive(Clone, Debug)]
pub struct Caller {
    pub tenant: TenantId,
    pub agent: AgentId,
    pub session: SessionId,
    /// The API key by which it calls.
    pub key: Option<ApiKeyId>,
    /// When the login is over.
    pub until: Timestamp,
    pub permissions: Permissions,
    /// Since when it is logged in.
    since: Timestamp,
}

/// How long a used idempotency key is remembered.
const USED_FOR: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// So many of a tenant; over it the oldest leave.
const USED_MAX: usize = 10_000;

impl TenantState {
    /// What was made by the idempotency key from which this id came: the resource with this id, or
    /// another one that was there. `Err`: by another body.
    pub fn used_by(&self, id: Uuid, digest: [u8; 16]) -> Result<Option<Uuid>, KeyReused> {
        match self.used.get(&id) {
            Some(used) if used.digest == digest => Ok(Some(used.row.unwrap_or(id))),
            Some(_) => Err(KeyReused),
            None => Ok(None),
        }
    }

    /// Of its rows; `None`: there is no such tenant.
    pub(super) fn of(rows: &[SettingRow]) -> Result<Option<Self>, StoreError> {
        let mut kinds = rows.iter().map(|row| SettingKind::from_number(row.kind));
        let Some(at) = kinds.position(|kind| kind == Some(SettingKind::Tenant)) else {
            return Ok(None);
        };
        let mut state = Self::blank(rows[at].value()?);
        for row in rows {
            // One that is of no kind is of a later version.
            if let Some(kind) = SettingKind::from_number(row.kind) {
                state.take(kind, row)?;
            }
        }
        Ok(Some(state))
    }

    fn insert<T: Held>(&mut self, row: T) {
        T::rows_mut(self).insert(row.id(), Arc::new(row));
    }

    /// What an agent may do; nothing when its role is gone.
    pub fn permissions(&self, agent: &Agent) -> Permissions {
        self.roles.get(&agent.role_id).map_or(Permissions::NONE, |role| role.permissions)
    }

    /// An account with all that it has in common with the others of its channel.
    pub fn account(&self, account: AccountId) -> Option<Arc<Account>> {
        let account = self.accounts.get(&account)?;
        let shared = self.integrations.values().find(|shared| shared.completes(account));
        Some(shared.map_or_else(|| account.clone(), |shared| Arc::new(shared.completed(account))))
    }

    /// The secret half of an agent.
    pub fn credential(&self, agent: AgentId) -> Option<&Arc<Credential>> {
        self.credentials.get(&agent)
    }

    /// A role by its name or id.
    pub fn role(&self, name_or_id: &str) -> Option<&Role> {
        let mut roles = self.roles.values().map(|role| &**role);
        match name_or_id.parse() {
            Ok(id) => roles.find(|role| role.id == id),
            Err(_) => roles.find(|role| role.name.to_lowercase() == name_or_id.to_lowercase()),
        }
    }

    /// Whether every login counts, and allows, what it did before.
    pub(super) fn allows_the_same_as(&self, before: &Self) -> bool {
        let agents = |state: &Self| -> Vec<_> {
            let of = |agent: &Arc<Agent>| (agent.id, agent.is_active, state.permissions(agent));
            state.agents.values().map(of).collect()
        };
        let logins = |state: &Self| -> Vec<_> {
            let credentials = state.credentials.values();
            credentials.map(|secret| (secret.agent, secret.sessions_since)).collect()
        };
        let keys = |state: &Self| -> Vec<_> {
            let of = |key: &Arc<ApiKey>| (key.id, key.permissions, key.expires_at);
            state.api_keys.values().map(of).collect()
        };
        self.tenant.status == before.tenant.status
            && agents(self) == agents(before)
            && logins(self) == logins(before)
            && keys(self) == keys(before)
    }

    pub(super) fn caller(&self, session: &Session, now: Timestamp) -> Option<Caller> {
        let agent = self.agents.get(&session.agent).filter(|agent| agent.is_active)?;
        let of_agent = self.permissions(agent);
        let key = match session.is_key {
            true => Some(self.api_keys.get(&ApiKeyId(session.id.0))?),
            false => None,
        };
        let (is_over, until) = match key {
            Some(key) => (false, key.until()),
            None => {
                let since = self.credentials.get(&agent.id)?.sessions_since;
                (session.created_at < since, session.expires_at)
            }
        };
        if is_over || session.ended || now >= until {
            return None;
        }
        let allowed = key.and_then(|key| key.permissions);
        Some(Caller {
            tenant: session.tenant,
            agent: agent.id,
            session: session.id,
            key: key.map(|key| key.id),
            until,
            permissions: allowed.map_or(of_agent, |allowed| of_agent.both(allowed)),
            since: session.created_at,
        })
    }
}

impl Caller {
    /// The login by which it was let in.
    pub(super) fn login(&self) -> Session {
        Session {
            id: self.session,
            tenant: self.tenant,
            agent: self.agent,
            created_at: self.since,
            expires_at: self.until,
            ended: false,
            is_key: self.key.is_some(),
        }
    }
}

impl Changing {
    /// Writes a resource.
    pub fn put<T: Held>(&mut self, row: T) {
        self.write(T::KIND, row.id().into(), &row);
        self.state.insert(row);
    }

    /// Removes a resource.
    pub fn delete<T: Held>(&mut self, id: T::Id) {
        self.changes.push(SettingChange::Delete(T::KIND, id.into()));
        T::rows_mut(&mut self.state).remove(&id);
    }

    /// Keeps how far the history of an account reaches back that goes: its conversations stay.
    pub fn keep_history(&mut self, account: &Account) {
        let known = self.state.tenant.history_since;
        let oldest = known.into_iter().chain(account.heard.history_since).min();
        if oldest != known {
            self.state.tenant.history_since = oldest;
            let tenant = self.state.tenant.clone();
            self.write(SettingKind::Tenant, tenant.id.0, &tenant);
        }
    }

    /// Writes the secret half of an agent.
    pub fn put_credential(&mut self, credential: Credential) {
        self.write(SettingKind::Credential, credential.agent.0, &credential);
        self.state.credentials.insert(credential.agent, Arc::new(credential));
    }

    /// Removes the secret half of an agent.
    pub fn delete_credential(&mut self, agent: AgentId) {
        self.changes.push(SettingChange::Delete(SettingKind::Credential, agent.0));
        self.state.credentials.remove(&agent);
    }

    /// What was written or removed so far.
    pub fn touched(&self) -> impl Iterator<Item = (SettingKind, Uuid)> {
        self.changes.iter().filter_map(|change| match change {
            SettingChange::Put(row) => Some((SettingKind::from_number(row.kind)?, row.id)),
            SettingChange::Delete(kind, id) => Some((*kind, *id)),
            SettingChange::Note(_) => None,
        })
    }

    /// Tells in the organization's activity what the change is.
    pub fn note(&mut self, activity: Activity) {
        self.changes.push(SettingChange::Note(activity));
    }

    /// Whether the resource with this id, which came from an idempotency key, was made before;
    /// otherwise it is from now on. `Err`: by another body.
    pub fn used(&mut self, id: Uuid, digest: [u8; 16]) -> Result<bool, KeyReused> {
        self.used_for(id, digest, None)
    }

    /// The same of a key by which another resource than the one with this id is changed.
    pub fn used_for(
        &mut self,
        id: Uuid,
        digest: [u8; 16],
        row: Option<Uuid>,
    ) -> Result<bool, KeyReused> {
        let now = self.now;
        self.state.used.retain(|_, used| now <= used.at + USED_FOR);
        while self.state.used.len() >= USED_MAX && !self.state.used.contains_key(&id) {
            let oldest = self.state.used.iter().min_by_key(|(_, used)| used.at);
            let Some(oldest) = oldest.map(|(id, _)| *id) else { break };
            self.changes.push(SettingChange::Delete(SettingKind::UsedKey, oldest));
            self.state.used.remove(&oldest);
        }
        let is_used = self.state.used_by(id, digest)?.is_some();
        if !is_used {
            let used = UsedBy { digest, at: now, row };
            self.write(SettingKind::UsedKey, id, &used);
            self.state.used.insert(id, used);
        }
        Ok(is_used)
    }

    fn write<T: Serialize>(&mut self, kind: SettingKind, id: Uuid, value: &T) {
        self.changes.push(SettingChange::Put(SettingRow::new(kind, id, value)));
    }
}

/// An idempotency key was used with another body.
#[derive(Clone, Copy, Debug)]
pub struct KeyReused;

impl Caller {
    /// As one who looks at conversations.
    pub fn viewer(&self) -> Viewer {
        Viewer { tenant: self.tenant, agent: self.agent, permissions: self.permissions }
    }
}
