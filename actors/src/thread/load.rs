//! What a thread's actor reads off its handler. It comes back as a message, however it ends.

use std::sync::Arc;

use engine::contact::Contact;
use engine::conversation::{Conversation, Loaded, Need};
use engine::id::{AccountId, ContactId, ConversationId, ThreadId};
use storage::contacts::Contacts;
use storage::conversations::{Conversations, Woken};
use storage::{Store, StoreError, together};

use crate::panics::{Panicked, caught_in};
use crate::world::World;

/// What a wake reads.
pub struct Loading {
    pub(super) woken: Option<Woken>,
    pub(super) contact: Option<Shown>,
    /// An earlier case of which a commit was not seen to end, as it stands.
    pub(super) doubted: Option<Conversation>,
}

/// What of a contact its conversations show.
#[derive(Clone, Debug)]
pub struct Shown {
    pub(super) contact: ContactId,
    pub(super) name: Option<String>,
    pub(super) phone: Option<String>,
}

/// Why something was not read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Reads this; a panic on the way is an answer too, since the actor waits for one.
pub(super) async fn read<T>(
    reading: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, Unread> {
    Ok(caught_in("load", Box::pin(reading)).await??)
}

pub(super) async fn load_thread(world: &World, id: ThreadId) -> Result<Loading, StoreError> {
    let read = async move |store: Arc<dyn Store>| {
        let woken = Conversations::new(store.clone()).wake(id).await?;
        let Some(woken) = woken else { return Ok(None) };
        let contact = Contacts::new(store).current(woken.thread.contact).await?;
        Ok(Some(Box::new((woken, contact))))
    };
    let read = together(world.conversations.store(), read).await?;
    let Some(read) = read else {
        return Ok(Loading { woken: None, contact: None, doubted: None });
    };
    let (woken, contact) = *read;
    if !world.conversations.guarantees().settled {
        // A row that a lost answer left on its way would replace the one that was read: of a thread
        // that had left in order, one that an owner before was stopped in.
        world.conversations.put_thread(&woken.thread, &[], None, world.stamps.next()).await?;
        let unclean = woken.case.as_ref().filter(|case| !case.clean);
        if let (Some(newest), Some(case)) = (&woken.newest, unclean) {
            let under_way = world.pages.begin(case.id);
            let redone = world.conversations.redo(newest, case, world.stamps.next()).await;
            under_way.ended(&redone);
            redone?;
        }
    }
    let doubted = match world.doubts.of(id) {
        Some(case) => load_case(world, id, case).await?,
        None => None,
    };
    Ok(Loading { woken: Some(woken), contact: contact.map(Shown::of), doubted })
}

/// Reads what commands of a thread need.
pub(super) async fn load_needs(
    world: &World,
    (thread, account): (ThreadId, AccountId),
    mut needs: Vec<Need>,
    into: &mut Loaded,
) -> Result<(), StoreError> {
    // Before their rows, which are as its facts say only then.
    needs.sort_by_key(|need| !matches!(need, Need::Case(_)));
    for need in needs {
        match need {
            Need::Case(id) => {
                let case = load_case(world, thread, id).await?;
                into.cases.insert(id, case);
            }
            need => world.conversations.load(account, need, into).await?,
        }
    }
    Ok(())
}

/// A case as it stands. Where it is an earlier one of this thread, what follows from its commits is made
/// up for first: nobody else may write it, and no wake does.
async fn load_case(
    world: &World,
    thread: ThreadId,
    id: ConversationId,
) -> Result<Option<Conversation>, StoreError> {
    let conversations = &world.conversations;
    let Some((head, lags)) = conversations.standing(id).await? else { return Ok(None) };
    if !lags || head.thread != thread {
        return Ok(Some(head));
    }
    let under_way = world.pages.begin(id);
    let made_up = conversations.catch_up(id, || world.stamps.next()).await;
    under_way.ended(&made_up);
    made_up?;
    conversations.head(id).await
}

impl Shown {
    pub(super) fn of(contact: Contact) -> Self {
        let phone = contact.phone().map(str::to_owned);
        Self { contact: contact.id, name: contact.name, phone }
    }

    /// Whether a case shows this; where there is none nothing else is shown.
    pub(super) fn is_in(&self, case: Option<&Conversation>) -> bool {
        case.is_none_or(|case| {
            (case.contact, &case.contact_name, &case.contact_phone)
                == (self.contact, &self.name, &self.phone)
        })
    }
}
