//! What a webhook tells of one account, and to whom that is passed on.

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
        let Self { account, items, bytes, of_contacts, news, phone, history, .. } = self;
        let ingress = app.desk.ingress();
        for introduction in self.introductions {
            // What they did before was before all of this.
            app.desk.introduce(&account, introduction).await?;
        }
        app.desk.ingest_body(&account, items, bytes).await?;
        for reference in self.references {
            app.desk.remember(&account, reference).await?;
        }
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

/// The first webhook of a number says what people call it; what the provider tells of all numbers
/// of its business account finds it from then on, too.
async fn meet(app: &App, account: &Account, phone: Option<String>) -> Result<(), StoreError> {
    let _naming = app.naming.lock().await;
    holders::remember(app, &account.config, (account.tenant, account.id)).await?;
    let change = |account: &mut Account, _| {
        account.phone = phone;
        true
    };
    app.tenants.change_account(account.tenant, account.id, change).await.map(drop)
}
