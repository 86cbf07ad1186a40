//! Servers, each on its own directory with its own provider, and organizations on them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak, mpsc};
use std::time::Duration;

use actors::permits::{Amount, Share};
use config::Config;
use engine::id::TenantId;
use serde_json::{Value, json};
use simulator::bodies::{self, Account, Text};
use simulator::{Graph, GraphOptions, Limits, StatusDelays, sign};
use storage::Store;
use storage::dead_letters::DeadLetter;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::caller::{Answer, Caller, PASSWORD};

/// Signs the provider's webhooks, unless an organization has a secret of its own.
pub(crate) const SECRET: &str = "the app's secret";

/// Servers outlive the runtime of the test that starts them.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SHARED: tokio::sync::Mutex<Weak<Server>> = tokio::sync::Mutex::const_new(Weak::new());

/// A server that runs until this goes.
pub(crate) struct Server {
    pub(crate) graph: Arc<Graph>,
    pub(crate) config: Config,
    /// Instead of the one in the directory.
    store: Option<Arc<dyn Store>>,
    /// Another one after a restart.
    url: Mutex<String>,
    running: Mutex<Option<api::server::Server>>,
    _directory: TempDir,
}

impl Server {
    /// The one for all tests that do not disturb each other.
    pub(crate) async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Self::start(|_| {}).await;
        *shared = Arc::downgrade(&server);
        server
    }

    /// One of its own, with settings that differ.
    pub(crate) async fn start(differ: impl FnOnce(&mut Config)) -> Arc<Self> {
        Self::beside(graph(), differ).await
    }

    /// One of its own, whose provider behaves like this.
    pub(crate) async fn beside(
        options: GraphOptions,
        differ: impl FnOnce(&mut Config),
    ) -> Arc<Self> {
        Self::new(options, differ, None).await
    }

    /// One of its own, over this store.
    pub(crate) async fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Self::new(graph(), |_| {}, Some(store)).await
    }

    /// One of its own in every way.
    pub(crate) async fn new(
        options: GraphOptions,
        differ: impl FnOnce(&mut Config),
        store: Option<Arc<dyn Store>>,
    ) -> Arc<Self> {
        let graph = RUNTIME.spawn(Graph::start(options)).await.unwrap().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut config = small(directory.path(), &graph);
        differ(&mut config);
        let (graph, url) = (Arc::new(graph), Mutex::default());
        let server =
            Self { graph, config, store, url, running: Mutex::default(), _directory: directory };
        server.run().await;
        Arc::new(server)
    }

    /// Stops and starts again on the same directory. Answers whether it stopped in order.
    pub(crate) async fn restart(&self) -> bool {
        self.restart_after(|| {}).await
    }

    /// The same, and in between this is done.
    pub(crate) async fn restart_after(&self, meanwhile: impl FnOnce()) -> bool {
        let running = self.running.lock().unwrap().take().unwrap();
        let is_finished = RUNTIME.spawn(running.stop()).await.unwrap();
        meanwhile();
        self.run().await;
        is_finished
    }

    /// Where its messages can be found by their words.
    pub(crate) fn search_index(&self) -> PathBuf {
        self.config.storage.path.join("search")
    }

    async fn run(&self) {
        use api::server::Server;
        let config = self.config.clone();
        let running = match self.store.clone() {
            None => RUNTIME.spawn(Server::start(config)).await,
            Some(store) => RUNTIME.spawn(Server::over(config, store)).await,
        };
        let running = running.unwrap().unwrap();
        let url = format!("http://{}", running.address);
        self.graph.deliver_to(&format!("{url}/webhook"));
        *self.url.lock().unwrap() = url;
        *self.running.lock().unwrap() = Some(running);
    }

    pub(crate) fn anonymous(self: &Arc<Self>) -> Caller {
        Caller::of(self.clone())
    }

    pub(crate) fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }

    /// Where its figures are.
    pub(crate) fn metrics(&self) -> String {
        let running = self.running.lock().unwrap();
        format!("http://{}/metrics", running.as_ref().unwrap().metrics)
    }

    /// Somebody else takes so much of the process, in percent, as long as this is held.
    pub(crate) fn fill(&self, percent: usize) -> Arc<Share> {
        let running = self.running.lock().unwrap();
        let app = &running.as_ref().unwrap().app;
        let items = app.config.limits.inflight_node * percent / 100;
        let nobody = TenantId(Uuid::nil());
        app.desk.permits().share(nobody, Amount::items(items)).ok().unwrap()
    }

    /// Why letters of an organization are dead.
    pub(crate) async fn dead_letters(&self, org: &Org) -> Vec<String> {
        let me = org.admin.get("/api/auth/me").await.is(200);
        self.reasons(serde_json::from_value(me["org_id"].clone()).unwrap()).await
    }

    /// Why letters are dead of which nobody knows whose they are.
    pub(crate) async fn dead_letters_of_nobody(&self) -> Vec<String> {
        self.reasons(None).await
    }

    pub(crate) fn app(&self) -> api::app::App {
        self.running.lock().unwrap().as_ref().unwrap().app.clone()
    }

    async fn reasons(&self, tenant: Option<TenantId>) -> Vec<String> {
        let app = self.app();
        let letters = app.desk.parking().letters();
        let reason = |letter: DeadLetter| letter.reason;
        let page = letters.page(tenant, None, (0, 100), app.tenants.now(), reason);
        page.await.unwrap().0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(running) = self.running.lock().unwrap().take() else { return };
        let (done, stopped) = mpsc::channel();
        RUNTIME.spawn(async move {
            running.stop().await;
            done.send(())
        });
        // The directory goes when nobody writes to it any more.
        stopped.recv().unwrap();
    }
}

/// Settings of a server that starts fast and lets tests in.
fn small(directory: &Path, graph: &Graph) -> Config {
    let mut config = Config::default();
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.metrics.listen = ([127, 0, 0, 1], 0).into();
    config.server.drain = Duration::from_secs(5);
    config.storage.path = directory.join("data");
    config.meta.graph_url = graph.url();
    config.meta.instagram_url = graph.url();
    config.meta.instagram_auth_url = graph.url();
    // What a file has to do with a test is its own.
    config.limits.media_ladder = vec![Duration::from_secs(3600)];
    config.limits.segment_bytes = 4 << 20;
    config.limits.registrations_per_minute = 10_000;
    config.limits.login_failures_address = 10_000;
    config
}

/// An organization with an admin and a WhatsApp account.
pub(crate) struct Org {
    pub(crate) server: Arc<Server>,
    pub(crate) admin: Caller,
    tenant: String,
    /// The account's.
    pub(crate) account: String,
    pub(crate) number: String,
    pub(crate) secret: String,
}

impl Org {
    /// A new one on the shared server.
    pub(crate) async fn found() -> Self {
        Self::on(&Server::shared().await).await
    }

    pub(crate) async fn on(server: &Arc<Server>) -> Self {
        Self::with_secret(server, SECRET).await
    }

    pub(crate) async fn with_secret(server: &Arc<Server>, secret: &str) -> Self {
        let (number, email) = (unique("7"), format!("{}@example.com", unique("admin")));
        let founding = json!({
            "org_name": "Corner Store", "admin_email": email, "admin_password": PASSWORD,
        });
        let anonymous = server.anonymous();
        let founded = anonymous.post("/api/auth/register", founding).await.is(201);
        let mut admin = anonymous.with_token(founded["token"].as_str().unwrap());
        let me = admin.get("/api/auth/me").await.is(200);
        (admin.id, admin.email) = (me["id"].as_str().unwrap().to_owned(), email);
        let tenant = me["org_id"].as_str().unwrap().to_owned();
        let (server, secret, account) = (server.clone(), secret.to_owned(), String::new());
        let mut org = Self { server, admin, tenant, account, number, secret };
        org.account = org.connect(&org.number).await;
        org
    }

    /// Connects a WhatsApp number; answers the account's id.
    pub(crate) async fn connect(&self, number: &str) -> String {
        let account = account(number, &self.secret);
        let made = self.admin.post("/api/integrations/accounts", account).await.is(201);
        made["id"].as_str().unwrap().to_owned()
    }

    /// Its id.
    pub(crate) fn tenant(&self) -> TenantId {
        TenantId(self.tenant.parse().unwrap())
    }

    /// A new person, logged in.
    pub(crate) async fn hire(&self, role: &str) -> Caller {
        let email = format!("{}@example.com", unique(role));
        let draft = json!({"name": role, "email": email, "password": PASSWORD, "role": role});
        self.admin.post("/api/agents", draft).await.is(201);
        self.admin.login(&email).await
    }

    /// A customer writes for the first time or again; answers the conversation's id.
    pub(crate) async fn hears(&self, phone: &str, text: &str) -> String {
        self.deliver(&self.text(&unique("wamid."), phone, text)).await.is(200);
        self.conversation(phone).await["id"].as_str().unwrap().to_owned()
    }

    /// A webhook with one text message.
    pub(crate) fn text(&self, id: &str, phone: &str, text: &str) -> Value {
        self.text_at(id, phone, text, unix_now())
    }

    /// The same, written at this time (seconds since 1970).
    pub(crate) fn text_at(&self, id: &str, phone: &str, text: &str, at: i64) -> Value {
        let text = Text { id, from: phone, name: "Ines", text, at, reply_to: None };
        bodies::text(&Account::new(&*self.number), &text)
    }

    /// A webhook of this field, with what Meta puts beside it.
    pub(crate) fn webhook(&self, field: &str, value: Value) -> Value {
        let mut value = value;
        let phone = format!("+49 {}", self.number);
        value["metadata"] = json!({"phone_number_id": self.number, "display_phone_number": phone});
        let entry = json!([{"id": "1", "changes": [{"field": field, "value": value}]}]);
        json!({"object": "whatsapp_business_account", "entry": entry})
    }

    /// Delivers a webhook as Meta does, signed.
    pub(crate) async fn deliver(&self, webhook: &Value) -> Answer {
        self.deliver_raw(&bodies::wire(webhook)).await
    }

    /// The same of these bytes.
    pub(crate) async fn deliver_raw(&self, body: &[u8]) -> Answer {
        let signature = sign(&self.secret, body);
        let request = self.admin.nobody().request(reqwest::Method::POST, "/webhook");
        Answer::of(request.header("x-hub-signature-256", signature).body(body.to_vec())).await
    }

    /// The customer's one conversation in the first hundred.
    pub(crate) async fn conversation(&self, phone: &str) -> Value {
        let all = self.admin.get("/api/conversations?per_page=100").await.is(200);
        let mut all: Vec<Value> = serde_json::from_value(all).unwrap();
        all.retain(|conversation| conversation["contact_phone"] == phone);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

/// What connects a WhatsApp number.
pub(crate) fn account(number: &str, secret: &str) -> Value {
    let config = json!({
        "phone_number_id": number, "waba_id": "1", "access_token": "a token", "app_secret": secret,
    });
    json!({"channel": "whatsapp", "config": config})
}

/// A provider that reports everything at once.
pub(crate) fn graph() -> GraphOptions {
    let (sent, delivered, read) = (Duration::ZERO, Duration::ZERO, Some(Duration::ZERO));
    let delays = StatusDelays { sent, delivered, read };
    // All organizations of the shared server are of one business account.
    let limits = Limits { management_per_hour: 1_000_000, ..Limits::default() };
    GraphOptions { app_secret: SECRET.to_owned(), delays, limits, ..GraphOptions::default() }
}

/// Asks until there is an answer, for what nobody is told of.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let asking = async {
        loop {
            again.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("it happens")
}

/// A text that nobody had before. Digits at its end are none by which the provider is told to fail.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(5_555_000);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn unix_now() -> i64 {
    actors::clock::Clock::system().now().0 / 1000
}
