//! What a webhook tells of one account, and to whom that is passed on.

use std::collections::BTreeSet;
use std::sync::Arc;

use actors::failure::Failure;
use engine::account::Account;
use engine::channel::Inbound;
use engine::channel::messaging::Introduction;
use engine::channel::webhook::{Part, Read};
use engine::channel::whatsapp::History;
use engine::consent::ContactNews;
use engine::news::News;
use engine::time::Timestamp;
use storage::StoreError;

use crate::app::App;
use crate::holders;

/// All of one account in a webhook.
pub struct Told {
    account: Arc<Account>,
    items: Vec<Inbound>,
    /// Of all its parts.
    bytes: usize,
    of_contacts: Vec<ContactNews>,
    news: Vec<News>,
    /// The number that it came to, as digits.
    phone: Option<String>,
    history: History,
    introductions: Vec<Introduction>,
    references: Vec<String>,
}

/// Introductions of a body that are followed: each costs a claim.
const INTRODUCTIONS_MAX: usize = 100;

impl Told {
    /// That of this account, among those of a webhook.
    pub fn of(all: &mut Vec<Self>, account: Arc<Account>) -> &mut Self {
        let known = all.iter().position(|known| known.account.id == account.id);
        let at = known.unwrap_or(all.len());
        if known.is_none() {
            all.push(Self {
                account,
                items: Vec::new(),
                bytes: 0,
                of_contacts: Vec::new(),
                news: Vec::new(),
                phone: None,
                history: History::default(),
                introductions: Vec::new(),
                references: Vec::new(),
            });
        }
        &mut all[at]
    }

    /// Reads one more part.
    pub fn add(&mut self, part: &Part<'_>, now: Timestamp) {
        let Read { items, of_contacts, news, phone, history, introductions, references } =
            part.read(&self.account, now);
        self.introductions.extend(introductions);
        self.references.extend(references);
        self.bytes += part.raw().len();
        self.items.extend(items);
        self.of_contacts.extend(of_contacts);
        self.news.extend(news);
        self.phone = phone.or(self.phone.take());
        let History { imports, behind } = history;
        self.history.imports.extend(imports);
        self.history.behind.extend(behind);
    }

    /// Passes it on: conversations first, history last. When it answers `Ok`, all is durable.
    pub async fn pass_on(self, app: &App) -> Result<(), Failure> {
        if self.tells_messages() {
            return app.desk.ingest_body(&self.account, self.items, self.bytes).await;
        }
        // What is seldom told makes no room for itself in every webhook.
        Box::pin(self.pass_all_on(app)).await
    }

    /// Whether it tells of conversations alone, as most do.
    fn tells_messages(&self) -> bool {
        let Self { of_contacts, news, phone, history, introductions, references, .. } = self;
        let is_known = phone.is_none() || *phone == self.account.phone;
        let introduces = !introductions.is_empty() || !references.is_empty();
        let tells_else =
            !of_contacts.is_empty() || !news.is_empty() || *history != History::default();
        is_known && !introduces && !tells_else
    }

    async fn pass_all_on(self, app: &App) -> Result<(), Failure> {
        let Self { account, items, bytes, of_contacts, news, phone, history, .. } = self;
        let ingress = app.desk.ingress();
        // What they did before was before all of this.
        app.desk.introduce(&account, distinct(self.introductions)).await?;
        app.desk.ingest_body(&account, items, bytes).await?;
        let references: BTreeSet<_> = self.references.into_iter().collect();
        app.desk.remember(&account, references.into_iter().take(INTRODUCTIONS_MAX)).await?;
        for news in of_contacts {
            ingress.hear(&account, news).await?;
        }
        if phone.is_some() && phone != account.phone {
            meet(app, &account, phone).await?;
        }
        // A number that was never seen may be the one that is meant.
        let known = account.phone.as_ref();
        let is_meant = |news: &&News| news.phone.iter().zip(known).all(|(one, two)| one == two);
        for news in news.iter().filter(is_meant) {
            app.outbox.hear(&account, news).await?;
        }
        let messages = history.imports.iter().flat_map(|import| &import.messages);
        if let Some(oldest) = messages.filter_map(|message| message.sent_at).min() {
            // Before it is imported, so that it is in lists once it is there.
            let change = |account: &mut Account, now| account.reaches_back_to(oldest, now);
            app.tenants.change_account(account.tenant, account.id, change).await?;
        }
        ingress.import(&account, history.imports).await?;
        app.desk.ingest(&account, history.behind).await
    }
}

/// Of each reference the first introduction, of so many: what was kept of the others can be tried
/// again by people.
fn distinct(introductions: Vec<Introduction>) -> Vec<Introduction> {
    let mut known = BTreeSet::new();
    let new = introductions.into_iter().filter(|one| known.insert(one.reference.clone()));
    new.take(INTRODUCTIONS_MAX).collect()
}

/// The first webhook of a number says what people call it; what the provider tells of all numbers
/// of its business account finds it from then on, too.
async fn meet(app: &App, account: &Account, phone: Option<String>) -> Result<(), StoreError> {
    let _naming = app.naming.hold(holders::names(&account.config)).await;
    holders::remember(app, &account.config, (account.tenant, account.id)).await?;
    let change = |account: &mut Account, _| {
        account.phone = phone;
        true
    };
    app.tenants.change_account(account.tenant, account.id, change).await.map(drop)
}

#[cfg(test)]
mod tests {
    use engine::channel::messaging::Introduction;

    use super::{INTRODUCTIONS_MAX, distinct};

    #[test]
    fn somebody_is_introduced_once_and_so_many_are() {
        let one = |n: usize| {
            let (reference, person) = (format!("u-{n}"), n.to_string());
            Introduction { reference, person }
        };
        assert_eq!(distinct(vec![one(1), one(2), one(1)]), [one(1), one(2)]);
        let many = (0..10 * INTRODUCTIONS_MAX).flat_map(|n| [one(n), one(n)]).collect();
        assert_eq!(distinct(many).len(), INTRODUCTIONS_MAX);
    }
}
