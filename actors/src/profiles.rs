//! Profiles: who customers are whose messages do not say it is asked behind their first message. It is
//! told of those who have agreed; the others stay without a name, and are not asked for again soon.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use engine::channel::{Channel, Profile};
use engine::conversation::Conversation;
use engine::id::{AccountId, ContactId, TenantId};
use storage::contacts::Contacts;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::contact::ContactCommand;
use crate::desk::Desk;
use crate::panics::caught_in;
use crate::provider::Provider;
use crate::tenants::Tenants;
use crate::turns::Turns;

/// Asks for all accounts. Clones are the same.
#[derive(Clone)]
pub struct Profiles(Arc<Inner>);

/// The limits of asking.
#[derive(Clone, Debug)]
pub struct ProfileOptions {
    /// Customers who are asked for at once.
    pub at_once: usize,
    /// Customers who are to be asked for; the others are when they write again.
    pub waiting: usize,
    /// Of so many it is known that they were asked for.
    pub known: usize,
    /// Whoever was asked for is not asked for again before this.
    pub again: Duration,
    /// Of one account one is asked for in this time.
    pub every: Duration,
    /// Waits between tries; after the last one it is given up until they write again.
    pub ladder: Vec<Duration>,
}

struct Inner {
    provider: Provider,
    tenants: Tenants,
    contacts: Contacts,
    options: ProfileOptions,
    desk: OnceLock<Desk>,
    turns: Turns,
    asked: Mutex<Asked>,
    stopping: watch::Sender<bool>,
    under_way: watch::Sender<usize>,
}

#[derive(Default)]
struct Asked {
    when: HashMap<ContactId, Instant>,
    /// The oldest first; those that were given up stand here, too.
    order: VecDeque<ContactId>,
    /// When the next one of an account may be asked for.
    paced: HashMap<AccountId, Instant>,
}

/// Who is asked for.
#[derive(Clone, Copy)]
struct Whose {
    tenant: TenantId,
    account: AccountId,
    contact: ContactId,
    channel: Channel,
}

impl Profiles {
    /// Through this provider.
    pub fn new(
        provider: Provider,
        tenants: Tenants,
        contacts: Contacts,
        options: ProfileOptions,
    ) -> Self {
        let turns = Turns::new(options.at_once);
        let (stopping, under_way) = (watch::Sender::new(false), watch::Sender::new(0));
        let (desk, asked) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner {
            provider,
            tenants,
            contacts,
            options,
            desk,
            turns,
            asked,
            stopping,
            under_way,
        }))
    }

    /// Names the desk whose contacts learn their names. Once, before anybody is asked for.
    pub fn connect(&self, desk: Desk) {
        // A second desk is not connected.
        let _ = self.0.desk.set(desk);
    }

    /// A customer wrote, or is looked at again: who they are is asked, unless it is known, or was
    /// asked lately.
    pub fn look_up(&self, head: &Conversation) {
        let is_nameless = head.contact_name.is_none() && head.last_inbound_at.is_some();
        if !is_nameless || !head.channel.has_profiles() || *self.0.stopping.borrow() {
            return;
        }
        let whose = Whose {
            tenant: head.tenant,
            account: head.account,
            contact: head.contact,
            channel: head.channel,
        };
        if *self.0.under_way.borrow() >= self.0.options.waiting || !self.is_due(whose.contact) {
            return;
        }
        self.0.under_way.send_modify(|count| *count += 1);
        let profiles = self.clone();
        let mut stopping = self.0.stopping.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
                // After a panic they are asked for when they write again.
                _ = caught_in("profile", Box::pin(profiles.run(whose))) => {}
            }
            profiles.0.under_way.send_modify(|count| *count -= 1);
        });
    }

    /// Asks for nobody any more, and ends what is under way.
    pub async fn stop(&self) {
        self.0.stopping.send_replace(true);
        let mut under_way = self.0.under_way.subscribe();
        // The sender is ours: it does not go.
        let _ = under_way.wait_for(|count| *count == 0).await;
    }

    async fn run(&self, whose: Whose) {
        for wait in std::iter::once(&Duration::ZERO).chain(&self.0.options.ladder) {
            sleep(*wait).await;
            sleep_until(self.slot(whose.account)).await;
            let _turn = self.0.turns.take(whose.tenant, 0).await;
            let profile = self.ask(whose).await;
            let outcome = match &profile {
                Profile::Named(_) => "named",
                Profile::Unknown => "unknown",
                Profile::Later => "later",
            };
            metrics::counter!("omnistream_profiles_total", "outcome" => outcome).increment(1);
            let is_done = match profile {
                Profile::Named(name) => self.tell(whose, name).await,
                Profile::Unknown => true,
                Profile::Later => false,
            };
            if is_done {
                return;
            }
        }
        // It was not answered: who writes again is asked for again.
        self.asked().when.remove(&whose.contact);
    }

    async fn ask(&self, whose: Whose) -> Profile {
        let Ok(state) = self.0.tenants.state(whose.tenant).await else { return Profile::Later };
        let account = state.and_then(|state| state.account(whose.account));
        let Some(account) = account.filter(|account| account.is_active) else {
            return Profile::Unknown;
        };
        let Ok(contact) = self.0.contacts.current(whose.contact).await else {
            return Profile::Later;
        };
        let Some(contact) = contact.filter(|contact| contact.name.is_none()) else {
            return Profile::Unknown;
        };
        match whose.channel.profile(&account, &contact.handles(account.id)) {
            Some(call) => whose.channel.profiled(self.0.provider.perform(call).await),
            None => Profile::Unknown,
        }
    }

    /// The contact learns its name. Answers whether it was told.
    async fn tell(&self, whose: Whose, name: String) -> bool {
        let Some(desk) = self.0.desk.get() else { return true };
        let (identities, thread, name) = (Vec::new(), None, Some(name));
        let learn = ContactCommand::Learn { identities, thread, name };
        desk.contact(whose.tenant, whose.contact, learn).await.is_ok()
    }

    /// When the next one of this account may be asked for: one behind the other.
    fn slot(&self, account: AccountId) -> Instant {
        let now = Instant::now();
        let mut asked = self.asked();
        asked.paced.retain(|_, next| *next > now);
        let slot = asked.paced.get(&account).copied().unwrap_or(now);
        asked.paced.insert(account, slot + self.0.options.every);
        slot
    }

    /// Whether somebody was not asked for lately; they are from now on.
    fn is_due(&self, contact: ContactId) -> bool {
        let now = Instant::now();
        let mut asked = self.asked();
        let last = asked.when.get(&contact);
        if last.is_some_and(|last| now.duration_since(*last) < self.0.options.again) {
            return false;
        }
        while asked.order.len() >= self.0.options.known {
            let Some(oldest) = asked.order.pop_front() else { break };
            asked.when.remove(&oldest);
        }
        asked.order.push_back(contact);
        asked.when.insert(contact, now);
        true
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
