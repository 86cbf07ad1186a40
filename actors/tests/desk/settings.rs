//! A tenant's settings: what is durable is seen, whatever became of who asked for it.

use std::sync::Arc;
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::tenants::{Changing, Following, TenantState, Tenants};
use engine::account::Account;
use engine::id::{AgentId, RoleId, TenantId};
use engine::identity::agent::{Agent, Availability, Credential};
use engine::tenant::{Tenant, TenantStatus};
use engine::time::Timestamp;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::names::Names;
use storage::settings::Settings;
use storage::{Part, Stamp, Store};
use uuid::Uuid;

use crate::bench::{TENANT, account};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// Nobody is told of changes.
struct Nobody;

impl Following for Nobody {
    fn changed(&self, _: &TenantState, _: &TenantState, _: Timestamp) {}

    fn rechecked(&self, _: TenantId, _: Option<AgentId>) {}
}

pub(crate) fn tenants(store: &Arc<dyn Store>, clock: &Clock, stamps: &Arc<Stamps>) -> Tenants {
    let (settings, names) = (Settings::new(store.clone()), Names::new(store.clone()));
    Tenants::new(settings, names, clock.clone(), stamps.clone(), 10, 10, Arc::new(Nobody))
}

/// The tenant of the tests, with its account.
pub(crate) async fn made(tenants: &Tenants) {
    made_of(tenants, account(), "shop").await;
}

/// The tenant of an account.
pub(crate) async fn made_of(tenants: &Tenants, account: Account, slug: &str) {
    let (of, slug) = (account.tenant, slug.to_owned());
    let tenant = Tenant {
        id: of,
        name: "Shop".into(),
        slug: slug.clone(),
        status: TenantStatus::Active,
        history_since: None,
        created_at: NOW,
        updated_at: NOW,
    };
    let id = AgentId(Uuid::from_u128(0xA));
    let admin = Agent {
        id,
        name: "Ada".into(),
        email: format!("ada@{slug}.example.com"),
        role_id: RoleId(Uuid::nil()),
        availability: Availability::Online,
        is_active: true,
        rev: 1,
        created_at: NOW,
        updated_at: NOW,
    };
    let credential = Credential { agent: id, password_hash: String::new(), sessions_since: NOW };
    tenants.create(tenant, admin, credential).await.unwrap();
    let connected = tenants.change(of, |changing| {
        changing.put(account);
        Ok::<_, ()>(())
    });
    connected.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_caller_has_gone_is_made_all_the_same() {
    let clock = Clock::standing_at(NOW);
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| NOW)));
    let slow = |call: &Call<'_>| match call {
        Call::Write(_) => Fate::Slow(Duration::from_secs(1)),
        _ => Fate::Done,
    };
    let store: Arc<dyn Store> = Arc::new(Faulty::new(memory, slow));
    let tenants = tenants(&store, &clock, &Arc::new(Stamps::above(Stamp(0))));
    made(&tenants).await;
    let rename = tenants.change(TENANT, |changing| {
        let mut renamed = account();
        renamed.display_name = "Corner Store".into();
        changing.put(renamed);
        Ok::<_, ()>(())
    });
    let gone = tokio::time::timeout(Duration::from_millis(500), rename).await;
    assert!(gone.is_err(), "the caller did not wait for the store");
    // The next change waits for its turn behind that one.
    tenants.change(TENANT, |_| Ok::<_, ()>(())).await.unwrap();
    let state = tenants.state(TENANT).await.unwrap().unwrap();
    assert_eq!(state.accounts[&account().id].display_name, "Corner Store");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_perhaps_written_is_written_before_the_next() {
    for fates in [
        [Fate::Applied, Fate::Done],
        [Fate::Lost, Fate::Done],
        [Fate::Applied, Fate::Unavailable],
        [Fate::Lost, Fate::Unavailable],
        [Fate::Lost, Fate::Lost],
        [Fate::Late(9), Fate::Lost],
    ] {
        let clock = Clock::standing_at(NOW);
        let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| NOW)));
        let stamps = Arc::new(Stamps::above(Stamp(0)));
        made(&tenants(&memory, &clock, &stamps)).await;
        let mut next = fates.into_iter();
        let decide = move |call: &Call<'_>| match call {
            Call::Write(_) => next.next().unwrap_or(Fate::Done),
            _ => Fate::Done,
        };
        let faulty = Arc::new(Faulty::new(memory.clone(), decide));
        let store: Arc<dyn Store> = faulty.clone();
        let failing = tenants(&store, &clock, &stamps);
        let mut renamed = account();
        renamed.display_name = "Corner Store".into();
        let rename = failing.change(TENANT, |changing| {
            changing.put(renamed);
            Ok::<_, ()>(())
        });
        assert_eq!(rename.await.is_ok(), fates[1] == Fate::Done, "{fates:?}");
        let seen = failing
            .change(TENANT, |changing| {
                let mut account = Account::clone(&changing.state.accounts[&account().id]);
                account.is_active = false;
                changing.put(account.clone());
                Ok::<_, ()>(account.display_name)
            })
            .await
            .unwrap();
        assert_eq!(seen, "Corner Store", "{fates:?}");
        faulty.land().await;
        let after = tenants(&memory, &clock, &stamps).state(TENANT).await.unwrap().unwrap();
        let account = &after.accounts[&account().id];
        assert_eq!((account.display_name.as_str(), account.is_active), ("Corner Store", false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_settings_load_slowly_keeps_no_other_waiting() {
    let clock = Clock::standing_at(NOW);
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| NOW)));
    let stamps = Arc::new(Stamps::above(Stamp(0)));
    made(&tenants(&memory, &clock, &stamps)).await;
    let ours = Part::Uuid(*TENANT.0.as_bytes());
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let decide = move |call: &Call<'_>| match call {
        Call::Scan(scan) if scan.partition[0] != ours => {
            let _ = begun.send(());
            Fate::Slow(Duration::from_secs(60))
        }
        _ => Fate::Done,
    };
    let store: Arc<dyn Store> = Arc::new(Faulty::new(memory, decide));
    let tenants = tenants(&store, &clock, &stamps);
    let other = tenants.clone();
    let slow = tokio::spawn(async move { other.state(TenantId(Uuid::from_u128(9))).await });
    begins.recv().await.unwrap();
    let state = tokio::time::timeout(Duration::from_secs(1), tenants.state(TENANT)).await;
    assert!(state.expect("nobody waits for another").unwrap().is_some());
    assert!(slow.await.unwrap().unwrap().is_none(), "there is no such tenant");
}

#[tokio::test]
async fn what_was_checked_is_checked_again_when_somebody_may_do_other_things_and_only_then() {
    let now = Clock::standing_at(NOW);
    let clock = now.clone();
    let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
    let tenants = tenants(&store, &clock, &Arc::new(Stamps::above(Stamp(0))));
    made(&tenants).await;
    let owner = tenants.owner(TENANT).await.unwrap().unwrap();
    let agent = Agent::clone(owner.state().agents.values().next().unwrap());
    let mut epoch = owner.epoch();
    let mut rises = async |change: &dyn Fn(&mut Agent), since: Option<Timestamp>| {
        let changed = tenants.change(TENANT, |changing| {
            let mut agent = agent.clone();
            change(&mut agent);
            if let Some(sessions_since) = since {
                let (agent, password_hash) = (agent.id, String::new());
                changing.put_credential(Credential { agent, password_hash, sessions_since });
            }
            changing.put(agent);
            Ok::<_, ()>(())
        });
        changed.await.unwrap();
        std::mem::replace(&mut epoch, owner.epoch()) != owner.epoch()
    };
    assert!(!rises(&|agent| agent.availability = Availability::Busy, None).await);
    assert!(!rises(&|agent| agent.name = "Ben".into(), None).await);
    assert!(rises(&|agent| agent.role_id = engine::identity::role::ADMIN, None).await);
    assert!(rises(&|agent| agent.is_active = false, None).await);
    assert!(rises(&|_| {}, None).await);
    assert!(rises(&|_| {}, Some(NOW + Duration::from_secs(1))).await);
    let ttl = Duration::from_secs(60);
    let login = tenants.open_session(TENANT, agent.id, NOW, ttl).await.unwrap();
    let before = owner.epoch();
    tenants.end_session(login.id).await.unwrap();
    assert_ne!(owner.epoch(), before);
}

#[tokio::test(start_paused = true)]
async fn so_many_used_idempotency_keys_are_remembered_and_the_oldest_leave() {
    let clock = Clock::standing_at(NOW);
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let (store, stamps): (Arc<dyn Store>, _) = (memory, Arc::new(Stamps::above(Stamp(0))));
    let settings = tenants(&store, &clock, &stamps);
    made(&settings).await;
    let key = |n: u64| Uuid::from_u128(1_000 + u128::from(n));
    let mark = async |settings: &Tenants, keys: std::ops::Range<u64>| {
        let mark = |changing: &mut Changing| {
            let used: Result<Vec<_>, _> = keys.map(|n| changing.used(key(n), [0; 16])).collect();
            used.map_err(|_| ())
        };
        settings.change(TENANT, mark).await.unwrap()
    };
    for minute in 0..11 {
        clock.set(NOW + Duration::from_secs(60 * minute));
        mark(&settings, minute * 1_000..(minute + 1) * 1_000).await;
    }
    // Another process knows the same.
    for settings in [settings, tenants(&store, &clock, &stamps)] {
        assert_eq!(mark(&settings, 10_999..11_000).await, [true], "the newest");
        assert_eq!(mark(&settings, 1_000..1_001).await, [true], "the oldest that is kept");
    }
    assert_eq!(mark(&tenants(&store, &clock, &stamps), 999..1_000).await, [false], "it left");
}

#[tokio::test(start_paused = true)]
async fn what_is_due_for_accounts_is_known_without_their_organizations_being_asked() {
    let clock = Clock::standing_at(NOW);
    let memory = Arc::new(Memory::new(Arc::new(|| NOW)));
    let (store, stamps): (Arc<dyn Store>, _) = (memory, Arc::new(Stamps::above(Stamp(0))));
    let settings = tenants(&store, &clock, &stamps);
    made(&settings).await;
    let change = async |change: fn(&mut Account)| {
        let change = |account: &mut Account, _| {
            change(account);
            true
        };
        settings.change_account(TENANT, account().id, change).await.unwrap();
    };
    let due = async |by| tenants(&store, &clock, &stamps).accounts_due(by).await.unwrap();
    let mine = [(TENANT, account().id)];
    let end = NOW + Duration::from_secs(60);
    assert_eq!(due(end).await, [], "it was connected otherwise");
    change(|account| account.registration = account.channel.unregistered()).await;
    assert_eq!(due(NOW).await, mine);
    change(|account| account.is_active = false).await;
    assert_eq!(due(end).await, []);
    change(|account| {
        (account.is_active, account.registration) = (true, None);
        account.channel = engine::channel::Channel::Instagram;
        account.config.insert("access_token".to_owned(), "IGAA".into());
        account.token_until = Some(NOW + Duration::from_secs(60));
    })
    .await;
    assert_eq!((due(NOW).await, due(end).await), (Vec::new(), mine.to_vec()));
    let gone = settings.change(TENANT, |changing| {
        changing.delete::<Account>(account().id);
        Ok::<_, ()>(())
    });
    gone.await.unwrap();
    assert_eq!(due(end).await, []);
}
