//! Logins and API keys: whose they are, whether they count, and how they end.

use std::sync::PoisonError;
use std::time::Duration;

use engine::activity::{Activity, Thing};
use engine::id::{AgentId, ApiKeyId, SessionId, TenantId};
use engine::identity::agent::Agent;
use engine::identity::api_key::{ApiKey, Secret};
use engine::identity::session::Session;
use engine::resource::Resource;
use engine::time::Timestamp;
use storage::StoreError;

use super::{Caller, Changing, NotChanged, Tenants, to_its_end};

/// Whether it is an hour since it was written down that a key is used.
fn is_stale(key: &ApiKey, now: Timestamp) -> bool {
    key.last_used_at.is_none_or(|at| now > at + Duration::from_secs(3600))
}

impl Tenants {
    /// From when a login counts whose password was checked by this hash: from behind the changes
    /// that ended the agent's logins, and before those that will. `None`: the agent is not active,
    /// or has another password by now.
    pub async fn login_at(
        &self,
        tenant: TenantId,
        agent: AgentId,
        password_hash: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        // It changes nothing: it has its turn among those who do.
        let counts = self.change(tenant, |changing| {
            let state = &changing.state;
            let agent = state.agents.get(&agent).filter(|agent| agent.is_active).ok_or(())?;
            let credential = state.credential(agent.id).ok_or(())?;
            if credential.password_hash != password_hash {
                return Err(());
            }
            Ok(changing.now.max(credential.sessions_since))
        });
        match counts.await {
            Ok(at) => Ok(Some(at)),
            Err(NotChanged::NoTenant | NotChanged::Refused(())) => Ok(None),
            Err(NotChanged::Store(error)) => Err(error),
        }
    }

    /// Opens a login of an agent, from this time.
    pub async fn open_session(
        &self,
        tenant: TenantId,
        agent: AgentId,
        at: Timestamp,
        ttl: Duration,
    ) -> Result<Session, StoreError> {
        let (id, expires_at) = (SessionId(self.id()), at + ttl);
        let (ended, is_key) = (false, false);
        let session = Session { id, tenant, agent, created_at: at, expires_at, ended, is_key };
        let note = Some(self.note(&session, "logged_in").await?);
        self.0.settings.put_session(&session, note.as_ref(), at, self.0.stamps.next()).await?;
        self.remember(session.clone());
        Ok(session)
    }

    /// That somebody came or went, for their organization's activity.
    async fn note(&self, session: &Session, done: &str) -> Result<Activity, StoreError> {
        let state = self.state(session.tenant).await?;
        let agent = state.as_ref().and_then(|state| state.agents.get(&session.agent));
        let name = agent.map(|agent| agent.name.clone());
        let by = (session.agent, name.clone().unwrap_or_default());
        let thing = Thing { kind: Agent::NAME.to_owned(), id: session.agent.0, name };
        Ok(Activity::new(self.activity_id(), by, thing, done))
    }

    /// Who calls by an API key, if it counts; that it is used is written down once in an hour.
    pub async fn key_caller(
        &self,
        id: ApiKeyId,
        secret: &Secret,
    ) -> Result<Option<Caller>, StoreError> {
        let Some(found) = self.find_session(SessionId(id.0)).await? else { return Ok(None) };
        let Some(state) = self.state(found.tenant).await? else { return Ok(None) };
        let known = state.api_keys.get(&id).filter(|key| key.is_opened_by(secret));
        let caller = state.caller(&found, self.now());
        let Some((key, caller)) = known.zip(caller) else { return Ok(None) };
        if is_stale(key, self.now()) {
            let tenants = self.clone();
            // Nobody waits for it, and nothing depends on it.
            tokio::spawn(async move {
                let used = tenants.change(found.tenant, |changing| {
                    let (now, known) = (changing.now, changing.state.api_keys.get(&id));
                    if let Some(key) = known.filter(|key| is_stale(key, now)) {
                        let key = ApiKey { last_used_at: Some(now), ..ApiKey::clone(key) };
                        changing.put(key);
                    }
                    Ok::<_, ()>(())
                });
                if let Err(error) = used.await {
                    tracing::debug!(?error, "the use of a key was not written down");
                }
            });
        }
        Ok(Some(caller))
    }

    /// Ends a login, at once for everybody.
    pub async fn end_session(&self, session: SessionId) -> Result<(), StoreError> {
        let Some(found) = self.find_session(session).await? else { return Ok(()) };
        let ended = Session { ended: true, ..found };
        let tenants = self.clone();
        to_its_end(async move {
            let (inner, tenant, agent) = (&tenants.0, ended.tenant, ended.agent);
            let (now, note) = (tenants.now(), Some(tenants.note(&ended, "logged_out").await?));
            inner.settings.put_session(&ended, note.as_ref(), now, inner.stamps.next()).await?;
            tenants.remember(ended);
            if let Some(owner) = tenants.owner(tenant).await? {
                owner.raise();
                inner.following.rechecked(tenant, Some(agent));
            }
            Ok(())
        })
        .await
    }

    /// Who a login is, if it still counts: not ended, not over, the agent active, the password the
    /// same.
    pub async fn caller(&self, session: SessionId) -> Result<Option<Caller>, StoreError> {
        let Some(found) = self.find_session(session).await? else { return Ok(None) };
        let Some(state) = self.state(found.tenant).await? else { return Ok(None) };
        Ok(state.caller(&found, self.now()))
    }

    /// Who somebody who was checked before is for a change: what they were allowed may have changed
    /// meanwhile, and changes no more until this one is made.
    pub fn caller_in(&self, changing: &Changing, checked: &Caller) -> Option<Caller> {
        let login = self.known_session(checked.session).unwrap_or_else(|| checked.login());
        changing.before.caller(&login, changing.now)
    }

    fn known_session(&self, id: SessionId) -> Option<Session> {
        let sessions = self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&id).cloned()
    }

    async fn find_session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        if let Some(known) = self.known_session(id) {
            return Ok(Some(known));
        }
        let found = self.0.settings.session(id).await?;
        if let Some(session) = &found {
            self.remember(session.clone());
        }
        Ok(found)
    }

    /// Remembers a login. One that has ended stays ended, whatever was read of it before.
    fn remember(&self, session: Session) {
        let mut sessions = self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = session.ended;
        if sessions.len() >= self.0.sessions_max && !sessions.contains_key(&session.id) {
            sessions.clear();
        }
        sessions.entry(session.id).or_insert(session).ended |= ended;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::id::{AgentId, ApiKeyId, SessionId, TenantId};
    use engine::identity::agent::{Agent, Availability, Credential};
    use engine::identity::api_key::{ApiKey, Secret};
    use engine::identity::role::ADMIN;
    use engine::identity::session::Session;
    use engine::tenant::{Tenant, TenantStatus};
    use engine::time::Timestamp;
    use uuid::Uuid;

    use crate::clock::Clock;
    use crate::tenants::Tenants;
    use crate::tenants::tests::tenants;

    const START: Timestamp = Timestamp(1_790_000_000_000);
    const TENANT: TenantId = TenantId(Uuid::from_u128(1));
    const ADA: AgentId = AgentId(Uuid::from_u128(2));
    const KEY: ApiKeyId = ApiKeyId(Uuid::from_u128(3));
    const SECRET: Secret = Secret([7; 32]);

    /// An organization whose admin has a key.
    async fn with_key(clock: &Clock, expires_at: Option<Timestamp>) -> Tenants {
        let tenants = tenants(clock.clone());
        let (created_at, updated_at) = (START, START);
        let tenant = Tenant {
            id: TENANT,
            name: "Shop".to_owned(),
            slug: "shop".to_owned(),
            status: TenantStatus::Active,
            history_since: None,
            created_at,
            updated_at,
        };
        let admin = Agent {
            id: ADA,
            name: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            role_id: ADMIN,
            availability: Availability::Offline,
            is_active: true,
            rev: 1,
            created_at,
            updated_at,
        };
        let password_hash = String::new();
        let credential = Credential { agent: ADA, password_hash, sessions_since: START };
        tenants.create(tenant, admin, credential).await.unwrap();
        let made = tenants.change(TENANT, |changing| {
            let key = ApiKey::made(KEY, ADA, "ERP".to_owned(), &SECRET, changing.now);
            changing.put(ApiKey { expires_at, last_used_at: Some(changing.now), ..key });
            Ok::<_, ()>(())
        });
        made.await.unwrap();
        tenants
    }

    /// Whether the key counts for one that remembers no logins.
    async fn counts(tenants: &Tenants) -> bool {
        tenants.0.sessions.lock().unwrap().clear();
        tenants.key_caller(KEY, &SECRET).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a_key_without_an_end_counts_until_it_is_deleted() {
        let clock = Clock::standing_at(START);
        let tenants = with_key(&clock, None).await;
        for days in [0, 2, 400, 10_000] {
            clock.set(START + Duration::from_secs(days * 24 * 3600));
            assert!(counts(&tenants).await, "after {days} days");
        }
        let deleted = tenants.change(TENANT, |changing| {
            changing.delete::<ApiKey>(KEY);
            Ok::<_, ()>(())
        });
        deleted.await.unwrap();
        assert!(!counts(&tenants).await);
        let login = tenants.0.settings.session(SessionId(KEY.0)).await.unwrap();
        assert!(login.is_none(), "nothing of it is left");
    }

    #[tokio::test]
    async fn a_key_ends_when_its_own_row_says_so_whatever_was_written_beside_it() {
        let clock = Clock::standing_at(START);
        let end = START + Duration::from_secs(30 * 24 * 3600);
        let tenants = with_key(&clock, Some(end)).await;
        let beside = tenants.0.settings.session(SessionId(KEY.0)).await.unwrap().unwrap();
        let sooner = Session { expires_at: START + Duration::from_secs(60), ..beside };
        let stamp = tenants.0.stamps.next();
        tenants.0.settings.put_session(&sooner, None, START, stamp).await.unwrap();
        clock.set(START + Duration::from_secs(90));
        assert!(counts(&tenants).await);
        // That it was used was too long ago: it is written down, and whose it is with it.
        clock.set(START + Duration::from_secs(3601));
        assert!(counts(&tenants).await);
        let owner = tenants.owner(TENANT).await.unwrap().unwrap();
        while owner.state().api_keys[&KEY].last_used_at == Some(START) {
            tokio::task::yield_now().await;
        }
        clock.set(end - Duration::from_millis(1));
        assert!(counts(&tenants).await);
        clock.set(end);
        assert!(!counts(&tenants).await);
    }

    #[tokio::test]
    async fn a_login_that_has_ended_is_not_brought_back_by_what_was_read_of_it_before() {
        let (tenants, ttl) = (tenants(Clock::system()), Duration::from_secs(60));
        let session = tenants.open_session(TENANT, ADA, START, ttl).await.unwrap();
        tenants.end_session(session.id).await.unwrap();
        let read_before = Session { ended: false, ..session };
        tenants.remember(read_before.clone());
        assert!(tenants.find_session(read_before.id).await.unwrap().unwrap().ended);
    }

    #[tokio::test]
    async fn what_was_checked_by_the_password_before_opens_nothing_within_its_millisecond() {
        let tenants = with_key(&Clock::standing_at(START), None).await;
        let ttl = Duration::from_secs(60);
        let opened = async |by: &str| {
            let at = tenants.login_at(TENANT, ADA, by).await.unwrap()?;
            Some(tenants.open_session(TENANT, ADA, at, ttl).await.unwrap().id)
        };
        let before = opened("").await.unwrap();
        assert!(tenants.caller(before).await.unwrap().is_some());
        let changed = tenants.change(TENANT, |changing| {
            let password_hash = "other".to_owned();
            let sessions_since = changing.now + Duration::from_millis(1);
            changing.put_credential(Credential { agent: ADA, password_hash, sessions_since });
            Ok::<_, ()>(())
        });
        changed.await.unwrap();
        assert!(tenants.caller(before).await.unwrap().is_none(), "it has ended");
        assert_eq!(opened("").await, None, "it was checked too early");
        let after = opened("other").await.unwrap();
        assert!(tenants.caller(after).await.unwrap().is_some(), "it is of this very millisecond");
    }

    #[tokio::test]
    async fn an_agent_that_is_deactivated_while_its_password_is_checked_logs_in_no_more() {
        let tenants = with_key(&Clock::standing_at(START), None).await;
        assert_eq!(tenants.login_at(TENANT, ADA, "").await.unwrap(), Some(START));
        let changed = tenants.change(TENANT, |changing| {
            let ada = Agent::clone(&changing.state.agents[&ADA]);
            changing.put(Agent { is_active: false, ..ada });
            Ok::<_, ()>(())
        });
        changed.await.unwrap();
        assert_eq!(tenants.login_at(TENANT, ADA, "").await.unwrap(), None);
    }
}
