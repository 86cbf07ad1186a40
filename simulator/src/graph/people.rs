//! The simulated customers of the stand-in: found by their names, and at work.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::book::Sent;
use super::desk::Desk;
use crate::bodies::Account;
use crate::people::{Act, Person, Who};

/// Customers that can be remembered.
const PEOPLE: usize = 100_000;

/// A customer who is at work: how many messages they got, and how many of them they took up.
#[derive(Debug)]
struct Working {
    person: Mutex<Person>,
    got: watch::Sender<u64>,
    taken: Mutex<u64>,
}

/// All customers, under every name that a send may have for them.
#[derive(Debug)]
pub(super) struct People {
    seed: u64,
    by_key: HashMap<(String, String), Arc<Working>>,
    by_handle: HashMap<(String, String), Arc<Working>>,
    opted_out: HashSet<(String, String)>,
}

impl People {
    pub(super) fn new(seed: u64) -> Self {
        let (by_key, by_handle) = (HashMap::new(), HashMap::new());
        Self { seed, by_key, by_handle, opted_out: HashSet::new() }
    }

    /// Tells whoever it is for.
    pub(super) fn hear(&self, sent: &Sent) {
        let of = |to: &str| (sent.phone_number_id.clone(), to.to_owned());
        let working = self.by_handle.get(&of(&sent.to));
        if let Some(working) = working.or_else(|| self.by_handle.get(&of(&sent.wa_id))) {
            working.person().hear(sent);
            working.got.send_modify(|got| *got += 1);
        }
    }

    pub(super) fn has_opted_out(&self, number: &str, customer: &str) -> bool {
        self.opted_out.contains(&(number.to_owned(), customer.to_owned()))
    }

    fn find(&mut self, number: &str, who: &Who) -> Option<Arc<Working>> {
        let key = (number.to_owned(), who.key().to_owned());
        if let Some(known) = self.by_key.get(&key) {
            return Some(Arc::clone(known));
        }
        if self.by_key.len() >= PEOPLE {
            return None;
        }
        let person = Mutex::new(Person::new(self.seed, who));
        let (got, taken) = (watch::Sender::default(), Mutex::default());
        let working = Arc::new(Working { person, got, taken });
        self.by_key.insert(key, Arc::clone(&working));
        self.reach(number, &working);
        Some(working)
    }

    /// Lets sends to the names that they have now reach them; those to earlier ones still do.
    fn reach(&mut self, number: &str, working: &Arc<Working>) {
        let handles: Vec<_> = working.person().handles().cloned().collect();
        for handle in handles {
            self.by_handle.insert((number.to_owned(), handle), Arc::clone(working));
        }
    }
}

impl Working {
    /// Whoever panicked while holding it left nothing half done.
    fn person(&self) -> MutexGuard<'_, Person> {
        self.person.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a customer is to do, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// The business number that they write to.
    pub phone_number_id: String,
    #[serde(flatten)]
    pub who: Who,
    pub acts: Vec<Act>,
}

/// A simulated customer of a business number.
#[derive(Clone, Debug)]
pub struct Customer {
    desk: Arc<Desk>,
    account: Account,
    working: Arc<Working>,
}

impl Customer {
    pub(super) fn find(desk: &Arc<Desk>, number: &str, who: &Who) -> Result<Self, String> {
        let account = desk.account(number).ok_or("there is no such phone number id")?;
        let working = desk.state().people.find(number, who);
        let working = working.ok_or("there are too many customers")?;
        Ok(Self { desk: Arc::clone(desk), account, working })
    }

    /// The names by which they are known now: phone number, user id, the shared user id.
    pub fn handles(&self) -> Vec<String> {
        self.working.person().handles().cloned().collect()
    }

    /// Does it, and ends when its webhooks were delivered; answers the ids of the messages made.
    ///
    /// # Errors
    /// A sentence, when it cannot be done: there is nothing to press, to edit, to react to.
    pub async fn does(&self, act: Act) -> Result<Vec<String>, String> {
        match act {
            Act::Pause { ms } => {
                self.desk.clock.sleep(Duration::from_millis(ms)).await;
                return Ok(Vec::new());
            }
            Act::AwaitAnswer => {
                self.answered().await;
                return Ok(Vec::new());
            }
            _ => {}
        }
        let deeds = {
            let mut state = self.desk.state();
            let number = &self.account.phone_number_id;
            let handles = self.handles();
            if handles.iter().any(|handle| state.numbers.has_blocked(number, handle)) {
                return Err("the business has blocked them".to_owned());
            }
            let at = self.desk.clock.now();
            let deeds = self.working.person().act(&self.account, &act, at)?;
            let handles = self.handles();
            let now = self.desk.clock.passed();
            for handle in handles {
                if deeds.opens_window {
                    state.windows.open(number, &handle, now);
                }
                let pair = (number.clone(), handle);
                match act {
                    Act::OptOut => drop(state.people.opted_out.insert(pair)),
                    Act::OptIn => drop(state.people.opted_out.remove(&pair)),
                    _ => {}
                }
            }
            state.people.reach(number, &self.working);
            deeds
        };
        let mut deliveries = Vec::new();
        for webhook in deeds.webhooks {
            let delivery = self.desk.deliver(&self.account, webhook);
            if deeds.together {
                deliveries.push(delivery);
            } else {
                delivery.await;
            }
        }
        join_all(deliveries).await;
        Ok(deeds.ids)
    }

    /// Does all of it in turn.
    ///
    /// # Errors
    /// As [`does`](Self::does), with what was not done.
    pub async fn plays(&self, acts: &[Act]) -> Result<(), String> {
        for (n, act) in acts.iter().enumerate() {
            let done = self.does(act.clone()).await;
            done.map_err(|reason| format!("act {n}, {act:?}: {reason}"))?;
        }
        Ok(())
    }

    /// Waits for a message of the business that this did not yet wait for.
    pub async fn answered(&self) {
        let mut got = self.working.got.subscribe();
        let taken = || *self.working.taken.lock().unwrap_or_else(PoisonError::into_inner);
        got.wait_for(|got| *got > taken()).await.expect("the sender is in self");
        *self.working.taken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}
