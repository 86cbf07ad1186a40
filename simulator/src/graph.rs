//! The stand-in for the messaging part of the Graph API: WhatsApp, Messenger, Instagram.

mod blocks;
mod book;
mod callbacks;
mod carried;
mod check;
mod control;
mod desk;
mod events;
mod inject;
mod limits;
mod line;
mod logins;
mod messages;
mod messaging;
mod numbers;
mod options;
mod people;
mod phone_app;
mod profiles;
mod routes;
mod templates;
mod tokens;
mod traffic;
mod trouble;
mod uploads;
mod usage;
mod windows;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;

use crate::bodies::Page;
use crate::courier::{Faults, Tally};
use crate::people::Who;
pub use book::{Counts, ReadMark, Request, Sends, Sent};
use desk::Desk;
pub use events::AccountEvent;
pub use inject::Injection;
pub use limits::Limits;
use line::{Cut, Lines};
pub use logins::Login;
pub use numbers::Quality;
pub use options::{GraphOptions, StatusDelays};
pub use people::{Customer, Script};
pub use phone_app::{Past, PhoneAppAct};
pub use traffic::{NumberTraffic, Passed, Traffic};
pub use trouble::{Plan, Trouble};

/// A running stand-in; it stops when dropped.
#[derive(Debug)]
pub struct Graph {
    address: SocketAddr,
    desk: Arc<Desk>,
    server: tokio::task::JoinHandle<()>,
}

impl Graph {
    /// Serves.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(options: GraphOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk::new(options));
        let router = routes::router(Arc::clone(&desk));
        let router = router.into_make_service_with_connect_info::<Cut>();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(Lines(listener), router).await {
                tracing::error!(%error, "the Graph stand-in stopped");
            }
        });
        Ok(Self { address, desk, server })
    }

    /// Its base, `http://ADDRESS:PORT`, as the engine's `meta.graph_url` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends webhooks there from now on.
    pub fn deliver_to(&self, webhook_url: &str) {
        self.desk.courier.deliver_to(webhook_url);
    }

    /// What it accepted, as far as it remembers.
    pub fn sends(&self) -> Sends {
        self.desk.state().book.sends()
    }

    /// The read marks it got, as far as it remembers.
    pub fn read_marks(&self) -> Vec<ReadMark> {
        self.desk.state().book.read_marks()
    }

    /// The requests it got, as far as it remembers.
    pub fn requests(&self) -> Vec<Request> {
        self.desk.state().book.requests(0, usize::MAX)
    }

    /// How many requests ended how.
    pub fn counts(&self) -> Counts {
        *self.desk.counts.borrow()
    }

    /// What became of its webhooks.
    pub fn tally(&self) -> Tally {
        self.desk.courier.tally()
    }

    /// How sends ended, by number and by recipient.
    pub fn traffic(&self) -> Traffic {
        self.desk.traffic.borrow().clone()
    }

    /// Waits until its counts satisfy `enough`.
    pub async fn until(&self, enough: impl Fn(&Counts) -> bool) {
        self.desk.until(enough).await;
    }

    /// Waits until how sends ended satisfies `enough`.
    pub async fn until_traffic(&self, enough: impl Fn(&Traffic) -> bool) {
        let mut traffic = self.desk.traffic.subscribe();
        traffic.wait_for(|traffic| enough(traffic)).await.expect("the sender is in self");
    }

    /// Waits until what became of its webhooks satisfies `enough`.
    pub async fn until_tally(&self, enough: impl Fn(&Tally) -> bool) {
        self.desk.courier.until(enough).await;
    }

    /// Forgets everything that happened, and goes on with this seed. Addresses, options and the
    /// time stay.
    pub fn reset(&self, seed: u64) {
        self.desk.reset(seed);
    }

    /// Sets simulated time forward: what was due until then happens at once.
    pub fn advance(&self, by: Duration) {
        self.desk.clock.advance(by);
    }

    /// Lets this number send so many messages a second from now on.
    pub fn set_throughput(&self, phone_number_id: &str, per_second: u32) {
        self.desk.state().limiter.set_throughput(phone_number_id, per_second);
    }

    /// Answers every request about this number with 190, as if its access token had expired, until
    /// [`renew_token`](Self::renew_token).
    pub fn expire_token(&self, phone_number_id: &str) {
        self.desk.state().expired.insert(phone_number_id.to_owned());
    }

    /// Takes this number's access token again.
    pub fn renew_token(&self, phone_number_id: &str) {
        self.desk.state().expired.remove(phone_number_id);
    }

    /// Somebody logs in and gives the app what it asks for; answers the code that is led back with
    /// them to `redirect`. A window of Meta's own leads nowhere.
    pub fn log_in(&self, login: Login, redirect: Option<&str>) -> String {
        logins::consent(&self.desk, login, redirect)
    }

    /// Lets the next requests that the plan is for have this trouble.
    pub fn plan(&self, plan: Plan) {
        if !self.desk.state().troubles.add(plan) {
            tracing::warn!("too many troubles are planned already");
        }
    }

    /// How many requests are still to come that have a trouble before them.
    pub fn planned(&self) -> u32 {
        self.desk.state().troubles.planned()
    }

    /// A medium that was uploaded by nobody, such as a customer's; answers its id.
    pub fn add_medium(&self, mime_type: &str, bytes: Vec<u8>) -> String {
        let at = self.desk.clock.passed();
        self.desk.state().uploads.add(mime_type.to_owned(), bytes.into(), at)
    }

    /// Where a medium lies for the next minutes, for whoever has the address: so files of Messenger's and
    /// Instagram's messages come.
    pub fn address_of(&self, medium: &str) -> String {
        uploads::address(&self.desk, &self.url(), carried::EDGE, medium)
    }

    /// Names this address for every medium that is looked up, until it is told `None`.
    pub fn name_media_at(&self, url: Option<&str>) {
        self.desk.state().uploads.named_at = url.map(str::to_owned);
    }

    /// Lets this go wrong with webhooks from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.desk.courier.set_faults(faults);
    }

    /// Lets webhooks wait, until they all leave at once with [`release`](Self::release).
    pub fn hold(&self) {
        self.desk.courier.hold(true);
    }

    /// Lets all webhooks leave that were held.
    pub fn release(&self) {
        self.desk.courier.hold(false);
    }

    /// The simulated customer of this number who is called so; a new one, if there is none.
    ///
    /// # Errors
    /// A sentence, when the number is not known or there are too many customers.
    pub fn customer(&self, phone_number_id: &str, who: &Who) -> Result<Customer, String> {
        Customer::find(&self.desk, phone_number_id, who)
    }

    /// Lets somebody at the business do this in the phone app; ends when its webhook was
    /// delivered, and answers the id of the message made.
    ///
    /// # Errors
    /// A sentence, when the number is not known or there is nothing to edit or delete.
    pub async fn phone_app(
        &self,
        phone_number_id: &str,
        to: &str,
        act: &PhoneAppAct,
    ) -> Result<String, String> {
        phone_app::act(&self.desk, phone_number_id, to, act).await
    }

    /// A person writes to a page of Messenger or an account of Instagram: it may be answered from
    /// then on. Says whether the webhook was answered 200.
    pub async fn write_to(&self, page: &Page, person: &str, text: &str) -> bool {
        messaging::write(&self.desk, page, person, text).await
    }

    /// A person of Messenger or Instagram is called so from now on; `None`: they have not agreed that
    /// this is told.
    pub fn set_name(&self, person: &str, name: Option<&str>) {
        self.desk.state().names.insert(person.to_owned(), name.map(str::to_owned));
    }

    /// The same with files, in one message: what each is sent as (`image`, `story_mention`, ...), its
    /// type and its bytes.
    pub async fn write_files(
        &self,
        page: &Page,
        person: &str,
        files: &[(&str, &str, Vec<u8>)],
    ) -> bool {
        carried::write(&self.desk, (page, person), files, &self.url()).await
    }

    /// What the phone app of this number has to hand over when it is asked to.
    pub fn set_past(&self, phone_number_id: &str, past: Past) {
        self.desk.state().numbers.of(phone_number_id).past = past;
    }

    /// Hands the past over as if it had been asked for; ends when all of it was delivered.
    ///
    /// # Errors
    /// A sentence, when the number is not known.
    pub async fn import(&self, phone_number_id: &str, past: Past) -> Result<(), String> {
        let account = self.desk.account(phone_number_id);
        let account = account.ok_or("there is no such phone number id")?;
        phone_app::import(&self.desk, &account, past).await;
        Ok(())
    }

    /// Lets this happen to a number; ends when its webhook was delivered.
    ///
    /// # Errors
    /// A sentence, when the number is not known.
    pub async fn happen(&self, phone_number_id: &str, event: &AccountEvent) -> Result<(), String> {
        events::happen(&self.desk, phone_number_id, event).await
    }

    /// A template that is approved at once and without a webhook; answers its id. From then on the
    /// business account sends only templates that it has.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn approve_template(&self, waba_id: &str, template: &Value) -> Result<String, String> {
        let made = self.desk.state().templates.approve(waba_id, template);
        made.map(|id| id.to_string()).map_err(|error| error.details.into_owned())
    }

    /// Puts a template into this state (`APPROVED`, `PAUSED`, ...); ends when its webhook was
    /// delivered.
    ///
    /// # Errors
    /// A sentence, when there is no such template or state.
    pub async fn settle_template(&self, id: &str, state: &str) -> Result<(), String> {
        let settled = templates::settle(&self.desk, id, state).await;
        settled.map_err(|error| error.details.into_owned())
    }

    /// Delivers this webhook as if it came of a number's own traffic; answers whether it was taken.
    pub async fn inject(&self, injection: Injection) -> bool {
        injection.deliver(&self.desk).await
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.server.abort();
        self.desk.stop();
    }
}
