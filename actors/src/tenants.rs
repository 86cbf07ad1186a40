//! Tenants: each with one owner of its settings. Reading takes the current snapshot; a change is
//! decided on it alone, made durable, and only then seen.

mod logins;
mod state;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use engine::account::Account;
use engine::activity::{Activity, Thing};
use engine::channel::Channel;
use engine::id::{AccountId, ActivityId, AgentId, SessionId, TenantId};
use engine::identity::agent::{Agent, Credential};
use engine::identity::api_key::Secret;
use engine::identity::session::Session;
use engine::mint::Mint;
use engine::resource::{Resource, SettingKind};
use engine::tenant::Tenant;
use engine::time::Timestamp;
use storage::StoreError;
use storage::names::{Name, Names};
use storage::settings::{SettingChange, SettingRow, Settings};
use tokio::sync::{OnceCell, OwnedMutexGuard};
use uuid::Uuid;

pub use self::state::{Caller, Changing, Held, KeyReused, TenantState};
use crate::clock::{Clock, Ids, Stamps};

/// All tenants. Clones are the same.
#[derive(Clone)]
pub struct Tenants(Arc<Inner>);

struct Inner {
    settings: Settings,
    names: Names,
    clock: Clock,
    stamps: Arc<Stamps>,
    ids: Mutex<Ids>,
    /// Loaded by the first who asks; the others of that tenant wait for it.
    loaded: Mutex<HashMap<TenantId, Arc<OnceCell<Arc<Owner>>>>>,
    loaded_max: usize,
    sessions: Mutex<HashMap<SessionId, Session>>,
    sessions_max: usize,
    accounts: Mutex<HashMap<(Channel, String), (TenantId, AccountId)>>,
    following: Arc<dyn Following>,
}

/// Whoever is told of changes to a tenant's settings.
pub trait Following: Send + Sync + 'static {
    /// A change is durable and seen. The call is quick and never waits.
    fn changed(&self, before: &TenantState, after: &TenantState, at: Timestamp);

    /// What was checked of this agent, or of all, has to be checked again: the epoch has risen.
    fn rechecked(&self, tenant: TenantId, agent: Option<AgentId>);
}

/// The owner of one tenant's settings.
pub struct Owner {
    state: ArcSwap<TenantState>,
    /// Held by whoever changes something, until it is durable.
    change: Arc<tokio::sync::Mutex<Option<Owed>>>,
    /// Raised whenever somebody may see less than before.
    epoch: AtomicU64,
}

/// A change that is to be written, and what it makes of the settings.
struct Owed {
    state: TenantState,
    changes: Vec<SettingChange>,
    perhaps_written: bool,
}

/// At most so many accounts are found without their name being read.
const ACCOUNTS_MAX: usize = 100_000;
/// A change whose outcome is unknown is written so often before its caller hears of it.
const WRITES: usize = 2;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged<E> {
    /// There is no such tenant.
    #[error("there is no such organization")]
    NoTenant,
    /// The change itself says no.
    #[error("refused")]
    Refused(E),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Tenants {
    /// Over these stores; at most so many tenants and sessions stay in memory.
    pub fn new(
        settings: Settings,
        names: Names,
        clock: Clock,
        stamps: Arc<Stamps>,
        loaded_max: usize,
        sessions_max: usize,
        following: Arc<dyn Following>,
    ) -> Self {
        Self(Arc::new(Inner {
            following,
            settings,
            names,
            ids: Mutex::new(Ids::new(clock.clone())),
            clock,
            stamps,
            loaded: Mutex::default(),
            loaded_max,
            sessions: Mutex::default(),
            sessions_max,
            accounts: Mutex::default(),
        }))
    }

    /// The time that tenants go by.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// A new id.
    pub fn id(&self) -> Uuid {
        self.0.ids.lock().unwrap_or_else(PoisonError::into_inner).uuid()
    }

    /// The id of what is noted next in an activity. It is larger than those before, also within a
    /// millisecond: its microseconds stand where chance would.
    pub fn activity_id(&self) -> ActivityId {
        let micros = u64::try_from(self.0.stamps.next().0).unwrap_or(0);
        let mut rest = [0; 10];
        rest.copy_from_slice(&self.id().as_bytes()[6..]);
        let within = u16::try_from(micros % 1_000).expect("less than a thousand");
        rest[..2].copy_from_slice(&within.to_be_bytes());
        ActivityId(uuid::Builder::from_unix_timestamp_millis(micros / 1_000, &rest).into_uuid())
    }

    /// A new secret.
    pub fn secret(&self) -> Secret {
        self.0.ids.lock().unwrap_or_else(PoisonError::into_inner).secret()
    }

    /// What may exist once in the installation.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// The owner of a tenant's settings, loaded when it is not in memory.
    pub async fn owner(&self, tenant: TenantId) -> Result<Option<Arc<Owner>>, StoreError> {
        let cell = {
            let mut loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            if loaded.len() >= self.0.loaded_max && !loaded.contains_key(&tenant) {
                // Whoever is used by nobody now is loaded again when it is needed.
                loaded.retain(|_, cell| {
                    Arc::strong_count(cell) > 1 || cell.get().is_some_and(Owner::is_needed)
                });
            }
            loaded.entry(tenant).or_default().clone()
        };
        let load = async || match TenantState::of(&self.0.settings.load(tenant).await?)? {
            Some(state) => Ok(Arc::new(Owner::new(state))),
            None => Err(NotLoaded::NoTenant),
        };
        match cell.get_or_try_init(load).await {
            Ok(owner) => Ok(Some(owner.clone())),
            Err(NotLoaded::NoTenant) => Ok(None),
            Err(NotLoaded::Store(error)) => Err(error),
        }
    }

    /// A tenant's settings as they are.
    pub async fn state(&self, tenant: TenantId) -> Result<Option<Arc<TenantState>>, StoreError> {
        Ok(self.owner(tenant).await?.map(|owner| owner.state()))
    }

    /// The settings of all tenants that are in memory, as they are.
    pub fn in_memory(&self) -> Vec<Arc<TenantState>> {
        let loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.values().filter_map(|cell| Some(cell.get()?.state())).collect()
    }

    /// The accounts of all tenants for which something is due at their providers by then.
    pub async fn accounts_due(
        &self,
        by: Timestamp,
    ) -> Result<Vec<(TenantId, AccountId)>, StoreError> {
        self.0.settings.accounts_due(by).await
    }

    /// Changes a tenant's settings, as one. The change is made durable before anybody sees it; two
    /// changes of one tenant follow each other.
    pub async fn change<T, E>(
        &self,
        tenant: TenantId,
        change: impl FnOnce(&mut Changing) -> Result<T, E>,
    ) -> Result<T, NotChanged<E>> {
        let owner = self.owner(tenant).await?.ok_or(NotChanged::NoTenant)?;
        let mut turn = owner.change.clone().lock_owned().await;
        if let Some(owed) = turn.take() {
            turn = self.write(tenant, &owner, turn, owed).await?;
        }
        let before = owner.state();
        let state = TenantState::clone(&before);
        let mut changing = Changing { before, state, now: self.now(), changes: Vec::new() };
        let made = change(&mut changing).map_err(NotChanged::Refused)?;
        let Changing { state, changes, .. } = changing;
        if !changes.is_empty() {
            let owed = Owed { state, changes, perhaps_written: false };
            self.write(tenant, &owner, turn, owed).await?;
        }
        Ok(made)
    }

    /// Changes an account, if it is there; the change says whether it changed anything. Answers the
    /// account as it is then.
    pub async fn change_account(
        &self,
        tenant: TenantId,
        account: AccountId,
        change: impl FnOnce(&mut Account, Timestamp) -> bool,
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let changed = self.change(tenant, |changing| {
            let known = changing.state.accounts.get(&account);
            let mut account = Account::clone(known.ok_or(())?);
            if change(&mut account, changing.now) {
                account.touch(changing.now);
                changing.put(account.clone());
            }
            Ok(Arc::new(account))
        });
        match changed.await {
            Ok(account) => Ok(Some(account)),
            Err(NotChanged::NoTenant | NotChanged::Refused(())) => Ok(None),
            Err(NotChanged::Store(error)) => Err(error),
        }
    }

    /// Makes a change durable, then seen. What was perhaps written is written again under a new
    /// stamp, so that nothing older can land after it: now, or before the next change.
    async fn write(
        &self,
        tenant: TenantId,
        owner: &Arc<Owner>,
        mut turn: OwnedMutexGuard<Option<Owed>>,
        mut owed: Owed,
    ) -> Result<OwnedMutexGuard<Option<Owed>>, StoreError> {
        let (tenants, owner) = (self.clone(), owner.clone());
        to_its_end(async move {
            let mut written = Ok(());
            for _ in 0..WRITES {
                let (changes, stamp) = (owed.changes.clone(), tenants.0.stamps.next());
                written = tenants.0.settings.change(tenant, changes, stamp).await;
                if !matches!(written, Err(StoreError::Unknown(_))) {
                    break;
                }
                owed.perhaps_written = true;
            }
            match written {
                Ok(()) => {
                    tenants.replace(&owner, owed.state);
                    Ok(turn)
                }
                Err(error) => {
                    *turn = Some(owed).filter(|owed| owed.perhaps_written);
                    Err(error)
                }
            }
        })
        .await
    }

    fn replace(&self, owner: &Owner, state: TenantState) {
        let state = Arc::new(state);
        let before = owner.state.swap(state.clone());
        if !state.allows_the_same_as(&before) {
            owner.raise();
            self.0.following.rechecked(state.tenant.id, None);
        }
        self.0.following.changed(&before, &state, self.now());
    }

    /// Makes a tenant with its first admin. The names must be claimed.
    pub async fn create(
        &self,
        tenant: Tenant,
        admin: Agent,
        credential: Credential,
    ) -> Result<(), StoreError> {
        let rows = vec![
            SettingRow::new(SettingKind::Tenant, tenant.id.0, &tenant),
            SettingRow::new(SettingKind::Agent, admin.id.0, &admin),
            SettingRow::new(SettingKind::Credential, admin.id.0, &credential),
        ];
        let mut changes: Vec<_> = rows.into_iter().map(SettingChange::Put).collect();
        let (kind, id, name) = ("organization".to_owned(), tenant.id.0, Some(tenant.name));
        let (by, thing) = ((admin.id, admin.name), Thing { kind, id, name });
        let note = Activity::new(self.activity_id(), by, thing, "created");
        changes.push(SettingChange::Note(note));
        self.0.settings.change(tenant.id, changes, self.0.stamps.next()).await
    }

    /// The account that a provider names by this key, with what it has in common with others.
    pub async fn account(
        &self,
        channel: Channel,
        key: &str,
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let name = (channel, key.to_owned());
        let known = {
            let accounts = self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.get(&name).copied()
        };
        if let Some(held) = known
            && let Some(account) = self.held_account(held, key).await?
        {
            return Ok(Some(account));
        }
        let Some(held) = self.0.names.get(&account_name(channel, key)).await? else {
            return Ok(None);
        };
        let account = self.held_account(held, key).await?;
        let mut accounts = self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        match &account {
            Some(_) if accounts.len() < ACCOUNTS_MAX => {
                accounts.insert(name, held);
            }
            _ => {
                accounts.remove(&name);
            }
        }
        Ok(account)
    }

    async fn held_account(
        &self,
        (tenant, id): (TenantId, AccountId),
        key: &str,
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let state = self.state(tenant).await?;
        let account = state.and_then(|state| state.account(id));
        Ok(account.filter(|account| account.account_key == key))
    }
}

/// Why there is no owner.
enum NotLoaded {
    NoTenant,
    Store(StoreError),
}

impl From<StoreError> for NotLoaded {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Goes on when its caller has gone: what the store has taken must be seen, too.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = |_| Err(StoreError::Unknown("a change was not made to its end".into()));
    tokio::spawn(change).await.unwrap_or_else(ended)
}

/// The name under which an account's key is unique in the installation.
pub fn account_name(channel: Channel, key: &str) -> Name {
    Name::global(&format!("account:{}", channel.as_str()), key)
}

impl Owner {
    fn new(state: TenantState) -> Self {
        Self {
            state: ArcSwap::from_pointee(state),
            change: Arc::default(),
            epoch: AtomicU64::new(1),
        }
    }

    /// Whether somebody uses it, or it has something to write.
    fn is_needed(self: &Arc<Self>) -> bool {
        let owes = || self.change.try_lock().is_ok_and(|owed| owed.is_some());
        Arc::strong_count(self) > 1 || owes()
    }

    /// The settings as they are.
    pub fn state(&self) -> Arc<TenantState> {
        self.state.load_full()
    }

    /// Rises whenever somebody may see less than before, before that is answered: what was checked
    /// earlier has to be checked again.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn raise(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::id::{AgentId, TenantId};
    use engine::time::Timestamp;
    use storage::memory::Memory;
    use storage::names::Names;
    use storage::settings::Settings;
    use storage::{Stamp, Store};

    use super::{Following, TenantState, Tenants};
    use crate::clock::{Clock, Stamps};

    struct Nobody;

    impl Following for Nobody {
        fn changed(&self, _: &TenantState, _: &TenantState, _: Timestamp) {}

        fn rechecked(&self, _: TenantId, _: Option<AgentId>) {}
    }

    pub(super) fn tenants(clock: Clock) -> Tenants {
        let time = clock.clone();
        let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || time.now())));
        let (settings, names) = (Settings::new(store.clone()), Names::new(store));
        let stamps = Arc::new(Stamps::above(Stamp(0)));
        Tenants::new(settings, names, clock, stamps, 1, 1, Arc::new(Nobody))
    }

    #[test]
    fn what_is_noted_later_has_a_larger_id_also_within_a_millisecond() {
        let (tenants, before) = (tenants(Clock::system()), Clock::system().now());
        let ids: Vec<_> = (0..5_000).map(|_| tenants.activity_id()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert!(storage::keys::made_at(ids[0].0) >= before);
        assert_eq!(ids[0].0.get_version_num(), 7);
    }
}
