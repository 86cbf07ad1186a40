//! What happens to a desk, by a seed: people are hired, customers of all channels write and change
//! their minds, people answer, and look at everything, before and after a restart.

mod reading;

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::MailServer;
use storage::seed::Chance;

use crate::caller::{Answer, Caller, PASSWORD, login};
use crate::channels::{Channel, Customer, Post, quincy, together};
use crate::harness::{Server, eventually};
use crate::world::{Exchange, World};

const STEPS: usize = 60;
const NAMES: [&str; 8] = ["Ines", "Mateo", "Noor", "Aiko", "Kofi", "Lena", "Ravi", "Zoe"];
const WORDS: [&str; 6] = ["boots", "laces", "invoice", "refund", "delivery", "size"];

/// A desk, and those who use it.
pub(crate) struct Desk {
    world: World,
    chance: Chance,
    /// Admin, Ana, Ben, and a program.
    people: Vec<Caller>,
    /// The admin of another organization.
    stranger: Caller,
    customers: Vec<Customer>,
    /// What was delivered.
    posts: Vec<Post>,
    /// Messages of ours that the provider has: the customer, our id, the provider's.
    ours: Vec<(usize, String, String)>,
    /// Files that people brought.
    files: Vec<String>,
    quick_replies: Vec<String>,
    /// How much has happened.
    happened: usize,
}

/// All that is answered on the way; what is answered last is answered twice, the second time after a
/// restart.
pub(crate) async fn play(
    server: Arc<Server>,
    mail: &MailServer,
    began: i64,
    seed: u64,
) -> Vec<Exchange> {
    let mut desk = Desk::found(World::new(server, began), mail, seed).await;
    for n in 0..NAMES.len() {
        desk.hears(n, "hello").await;
    }
    desk.finds_out().await;
    for _ in 0..STEPS {
        desk.step().await;
    }
    let before = desk.looks_at_everything().await;
    desk.world.restart().await;
    let after = desk.looks_at_everything().await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.answered, after.answered, "after a restart: {}", before.asked);
    }
    assert_eq!(before.len(), after.len());
    // And it goes on.
    for _ in 0..STEPS / 4 {
        desk.step().await;
    }
    desk.looks_at_everything().await;
    desk.world.told
}

fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn rows(value: Value) -> Vec<Value> {
    serde_json::from_value(value).unwrap()
}

impl Desk {
    async fn found(mut world: World, mail: &MailServer, seed: u64) -> Self {
        let anonymous = world.server.anonymous();
        // What becomes of our messages is told as the seed has it.
        world.server.graph.hold();
        let admin = register(&mut world, &anonymous, "one").await;
        let stranger = register(&mut world, &anonymous, "other").await;
        for channel in Channel::ALL {
            let account = channel.account(&mail.url());
            world.posts(&admin, "/api/integrations/accounts", account.clone()).await;
            // It is somebody's already.
            world.posts(&stranger, "/api/integrations/accounts", account).await;
        }
        let clerk =
            json!({"name": "Clerk", "permissions": ["conversations.assign", "developer.access"]});
        world.posts(&admin, "/api/roles", clerk).await;
        let mut people = vec![admin.clone()];
        for (name, role) in [("Ana", "agent"), ("Ben", "Clerk")] {
            let email = format!("{}@example.com", name.to_lowercase());
            let draft = json!({"name": name, "email": email, "password": PASSWORD, "role": role});
            world.posts(&admin, "/api/agents", draft).await;
            people.push(logged_in(&mut world, &anonymous, &email).await);
        }
        let made = world.posts(&admin, "/api/api-keys", json!({"name": "ERP"})).await;
        people.push(admin.with_token(made["key"].as_str().unwrap()));
        let customers: Vec<_> =
            NAMES.iter().enumerate().map(|(n, name)| Customer::new(n, name)).collect();
        for customer in &customers {
            world.server.graph.set_name(&customer.handle, Some(customer.name));
        }
        let chance = Chance::of(seed);
        let (posts, ours, files, quick_replies) = Default::default();
        Self {
            world,
            chance,
            people,
            stranger,
            customers,
            posts,
            ours,
            files,
            quick_replies,
            happened: 0,
        }
    }

    fn admin(&self) -> Caller {
        self.people[0].clone()
    }

    fn anybody(&mut self) -> Caller {
        self.people[self.chance.index(self.people.len())].clone()
    }

    /// A text with a word by which it is found.
    fn text(&mut self) -> String {
        let word = WORDS[self.chance.index(WORDS.len())];
        format!("{word} {}", self.happened)
    }

    /// A new id of the provider's.
    fn id(&mut self) -> String {
        self.happened += 1;
        format!("in.{}", self.happened)
    }

    /// When the customer did what they do now, in seconds since 1970: somewhat earlier.
    fn at(&self) -> i64 {
        self.world.began - 3600 + self.happened as i64
    }

    async fn step(&mut self) {
        let customer = self.chance.index(self.customers.len());
        match self.chance.below(20) {
            0..=3 => {
                let text = self.text();
                self.hears(customer, &text).await;
            }
            4 => self.hears_again().await,
            5 => self.hears_out_of_order(customer).await,
            6..=7 => self.changes_its_mind(customer).await,
            8 => self.is_shown(customer).await,
            9..=11 => self.answers(customer).await,
            12 => self.sends_a_file(customer).await,
            13 => self.receives().await,
            14 => self.assigns(customer).await,
            15 => self.sets_status(customer).await,
            16 => self.tags(customer).await,
            17 => self.changes_contact(customer).await,
            18 => self.changes_quick_replies().await,
            _ => self.mistakes(customer).await,
        }
    }

    async fn delivers(&mut self, post: Post) {
        self.delivers_only(&post).await;
        self.posts.push(post);
        self.lists().await;
    }

    async fn delivers_only(&mut self, post: &Post) -> Answer {
        let request = post.request(&self.people[0].nobody());
        self.world.hears(&post.body.to_string(), request).await
    }

    /// Looks at the list of conversations, and which customer's each is.
    async fn lists(&mut self) {
        let admin = self.admin();
        // Names come behind first messages.
        for customer in self.customers.iter_mut().filter(|one| !one.wrote.is_empty()) {
            if customer.conversation.is_some() {
                continue;
            }
            let found = eventually(async || {
                let all = rows(admin.get("/api/conversations?per_page=100").await.is(200));
                all.into_iter().find(|one| one["contact_name"] == customer.name)
            });
            customer.conversation = Some(id_of(&found.await));
        }
        self.world.gets(&admin, "/api/conversations?per_page=100").await;
    }

    /// A conversation's path with this behind it.
    fn path(&self, customer: usize, more: &str) -> String {
        let id = self.customers[customer].conversation.as_ref().unwrap();
        format!("/api/conversations/{id}{more}")
    }

    async fn hears(&mut self, customer: usize, text: &str) {
        let id = self.id();
        let at = self.at();
        let quoted =
            self.chance.permille(200).then(|| self.customers[customer].wrote.last().cloned());
        let post = self.customers[customer].writes(&id, text, at, quoted.flatten().as_deref());
        self.delivers(post).await;
    }

    /// A provider delivers something again, which changes nothing.
    async fn hears_again(&mut self) {
        let post = self.posts[self.chance.index(self.posts.len())].clone();
        self.delivers(post).await;
    }

    /// Two messages and what is thought of the first, in any order, perhaps in one webhook.
    async fn hears_out_of_order(&mut self, customer: usize) {
        let (first, second, third) = (self.id(), self.id(), self.id());
        let (at, text) = (self.at(), self.text());
        let of = &mut self.customers[customer];
        let mut posts = vec![of.writes(&first, &text, at - 2, None)];
        posts.push(of.writes(&second, &format!("{text} too"), at - 1, None));
        posts.extend(of.reacts(&third, &first, at));
        for n in (1..posts.len()).rev() {
            posts.swap(n, self.chance.index(n + 1));
        }
        let all = together(&posts).filter(|_| self.chance.permille(500));
        for post in all.map_or(posts, |all| vec![all]) {
            self.delivers(post).await;
        }
        self.reads(customer).await;
    }

    async fn changes_its_mind(&mut self, customer: usize) {
        let (id, at, text) = (self.id(), self.at(), self.text());
        let of = &self.customers[customer];
        let message = &of.wrote[self.chance.index(of.wrote.len())];
        let post = match self.chance.below(3) {
            0 => of.reacts(&id, message, at),
            1 => of.edits(&id, message, &text, at),
            _ => of.deletes(&id, message, at),
        };
        if let Some(post) = post {
            self.delivers(post).await;
            self.reads(customer).await;
        }
    }

    /// A customer shows a picture, which is there as soon as it is fetched.
    async fn is_shown(&mut self, customer: usize) {
        let (id, at, text) = (self.id(), self.at(), self.text());
        let graph = self.world.server.graph.clone();
        let picture = self.customers[customer].brings(&graph, picture(&text));
        self.world.calls(picture.replace('/', "\\/"), "PICTURE");
        self.world.calls(picture.clone(), "PICTURE");
        let post = self.customers[customer].shows(&id, &picture, &text, at);
        self.delivers_only(&post).await;
        let (admin, path) = (self.admin(), self.path(customer, "/messages"));
        eventually(async || {
            let all = rows(admin.get(&path).await.is(200));
            let mut files = all.iter().filter_map(|one| one["attachments"].as_array()).flatten();
            files
                .all(|file| file["media_id"].is_string() || file["error"].is_object())
                .then_some(())
        })
        .await;
        self.delivers(post).await;
        self.reads(customer).await;
    }

    /// Somebody sends something, once by a key, and it leaves.
    async fn sends(&mut self, customer: usize, who: &Caller, body: Value) {
        let path = self.path(customer, "/messages");
        let key = self.id();
        let request =
            || who.request(Method::POST, &path).header("idempotency-key", &key).json(&body);
        let sent = self.world.hears(&body.to_string(), request()).await;
        if sent.status == 201 {
            let is_over = ["sent", "failed", "unknown"];
            let sent = eventually(async || {
                let all = rows(self.admin().get(&path).await.is(200));
                let one = all.into_iter().find(|one| one["id"] == sent.body["id"]).unwrap();
                is_over.iter().any(|over| one["status"] == *over).then_some(one)
            });
            let sent = sent.await;
            if let Some(id) = sent["provider_message_id"].as_str() {
                self.ours.push((customer, id_of(&sent), id.to_owned()));
            }
            self.world.hears(&body.to_string(), request()).await;
            let other = json!({"text": "Another body by the same key"});
            let request = who.request(Method::POST, &path).header("idempotency-key", &key);
            self.world.hears(&other.to_string(), request.json(&other)).await;
        }
        self.lists().await;
        self.reads(customer).await;
    }

    async fn answers(&mut self, customer: usize) {
        let (who, mut body) = (self.anybody(), json!({"text": self.text()}));
        let ours: Vec<_> = self.ours.iter().filter(|(of, ..)| *of == customer).collect();
        if !ours.is_empty() && self.chance.permille(300) {
            body["reply_to_message_id"] = json!(ours[self.chance.index(ours.len())].1);
        }
        self.sends(customer, &who, body).await;
    }

    async fn sends_a_file(&mut self, customer: usize) {
        let (who, text) = (self.anybody(), self.text());
        let bytes = picture(&text);
        let head = "name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png";
        let form = who.form("/api/media", &[(head, &bytes)]);
        let file = self.world.hears("a picture", form).await.is(201);
        self.files.push(id_of(&file));
        let file = json!({"kind": "image", "media_id": file["id"]});
        self.sends(customer, &who, json!({"attachments": [file], "text": text})).await;
    }

    /// What became of a message of ours is told, more than once and in any order.
    async fn receives(&mut self) {
        if self.ours.is_empty() {
            return;
        }
        let (customer, _, id) = self.ours[self.chance.index(self.ours.len())].clone();
        for _ in 0..3 {
            let status = ["sent", "delivered", "read"][self.chance.index(3)];
            self.happened += 1;
            if let Some(post) = self.customers[customer].receives(&id, status, self.at()) {
                self.delivers(post).await;
            }
        }
        self.reads(customer).await;
    }

    async fn assigns(&mut self, customer: usize) {
        let (who, to) = (self.anybody(), self.chance.index(4));
        if to == 3 {
            let path = self.path(customer, "/takeover");
            self.world.posts(&who, &path, Value::Null).await;
        } else {
            let to = self.people.get(1 + to).filter(|_| to < 2).map(|agent| &agent.id);
            let (path, body) = (self.path(customer, "/assign"), json!({"agent_id": to}));
            self.world.patches(&who, &path, body).await;
        }
        self.lists().await;
        self.reads(customer).await;
    }

    async fn sets_status(&mut self, customer: usize) {
        let who = self.anybody();
        let status = ["open", "pending", "resolved", "resolved"][self.chance.index(4)];
        let path = self.path(customer, "/status");
        self.world.patches(&who, &path, json!({"status": status})).await;
        if self.chance.permille(300) {
            let path = self.path(customer, "/read");
            self.world.posts(&who, &path, Value::Null).await;
        }
        self.lists().await;
    }

    async fn tags(&mut self, customer: usize) {
        let (who, tag) = (self.anybody(), WORDS[self.chance.index(WORDS.len())]);
        if self.chance.permille(500) {
            let path = self.path(customer, "/tags");
            self.world.patches(&who, &path, json!({"tags": [tag, "vip"]})).await;
        } else {
            let ids: Vec<_> = self.customers.iter().map(|one| one.conversation.clone()).collect();
            let kind = ["add_tags", "remove_tags"][self.chance.index(2)];
            let action = json!({"type": kind, "tags": [tag]});
            let body = json!({"conversation_ids": ids, "action": action});
            self.world.posts(&who, "/api/conversations/bulk", body).await;
        }
        self.lists().await;
    }

    async fn changes_contact(&mut self, customer: usize) {
        let (who, path) = (self.anybody(), self.path(customer, ""));
        let shown = self.admin().get(&path).await.is(200);
        let contact = format!("/api/contacts/{}", shown["contact_id"].as_str().unwrap());
        let tag = WORDS[self.chance.index(WORDS.len())];
        let email = format!("{tag}@example.net");
        self.world.patches(&who, &contact, json!({"email": email, "tags": [tag]})).await;
        self.world.gets(&who, &format!("{contact}/conversations")).await;
        self.world.gets(&who, &contact).await;
    }

    async fn changes_quick_replies(&mut self) {
        let (who, all) = (self.anybody(), "/api/quick-replies");
        let admin = self.admin();
        let any = self.chance.index(self.quick_replies.len() + 2);
        match self.quick_replies.get(any).cloned() {
            Some(id) if self.chance.permille(300) => {
                self.quick_replies.remove(any);
                self.world.asks(&admin, Method::DELETE, &format!("{all}/{id}"), None).await;
            }
            Some(id) => {
                let body = json!({"text": self.text()});
                self.world.patches(&who, &format!("{all}/{id}"), body).await;
            }
            None => {
                let draft = json!({"title": format!("Title {any}"), "text": self.text()});
                let made = self.world.posts(&admin, all, draft).await;
                self.quick_replies.push(id_of(&made));
            }
        }
        self.world.gets(&who, all).await;
    }

    /// What is refused: of another organization, of nobody, of somebody who may not, and nonsense.
    async fn mistakes(&mut self, customer: usize) {
        let (who, stranger) = (self.anybody(), self.stranger.clone());
        let path = self.path(customer, "");
        let messages = self.path(customer, "/messages");
        let words = json!({"text": "Hello"});
        self.world.gets(&stranger, &path).await;
        self.world.gets(&stranger, &messages).await;
        self.world.posts(&stranger, &messages, words.clone()).await;
        self.world.patches(&stranger, &format!("{path}/status"), json!({"status": "open"})).await;
        self.world.gets(&who.nobody(), &path).await;
        self.world.gets(&who, "/api/activity-logs").await;
        self.world.posts(&who, &messages, json!({"txt": "Hello"})).await;
        self.world.posts(&who, &messages, json!({"text": ""})).await;
        self.world.posts(&who, &messages, json!({"text": "x".repeat(70_000)})).await;
        let none = json!({"text": "Hello", "reply_to_message_id": self.people[0].id});
        self.world.posts(&who, &messages, none).await;
        self.world.patches(&who, &format!("{path}/assign"), json!({"agent_id": stranger.id})).await;
        for query in ["page=0", "per_page=1000", "status=odd", "colour=red", "page=999"] {
            self.world.gets(&who, &format!("/api/conversations?{query}")).await;
        }
        self.world.gets(&who, &format!("/api/contacts/{}", self.people[0].id)).await;
        let draft = json!({"name": "Ana", "email": "ana@example.com", "password": PASSWORD});
        self.world.posts(&who, "/api/agents", draft).await;
        self.world.posts(&who, "/api/roles", json!({"name": "Clerk", "permissions": []})).await;
        let wrong = login("ana@example.com", "wrong");
        self.world.posts(&who.nobody(), "/api/auth/login", wrong).await;
        let nobody = json!({"object": "whatsapp_business_account", "entry": []});
        self.world.posts(&who.nobody(), "/webhook", nobody).await;
    }

    async fn reads(&mut self, customer: usize) {
        let (who, path) = (self.anybody(), self.path(customer, ""));
        self.world.gets(&who, &path).await;
        self.world.gets(&who, &format!("{path}/messages?per_page=100")).await;
    }

    /// One who is known by two names, one after the other, and then by both: two contacts are one.
    async fn finds_out(&mut self) {
        let (phone, user_id) = (Some("15550009000"), Some("US.900"));
        let count = async |admin: &Caller| {
            let found = rows(admin.get("/api/contacts?per_page=100").await.is(200));
            found.iter().filter(|one| one["name"] == "Quincy").count()
        };
        for known in [(phone, None), (None, user_id), (phone, user_id)] {
            let (id, at) = (self.id(), self.at());
            self.delivers(quincy(known.0, known.1, &id, at)).await;
            let (admin, both) = (self.admin(), known.0.and(known.1).is_some());
            let wanted = if both || known.0.is_some() { 1 } else { 2 };
            eventually(async || (count(&admin).await == wanted).then_some(())).await;
            self.world.gets(&admin, "/api/contacts?per_page=100").await;
        }
    }
}

async fn register(world: &mut World, anonymous: &Caller, name: &str) -> Caller {
    let email = format!("admin@{name}.example.com");
    let founding = json!({"org_name": name, "admin_email": email, "admin_password": PASSWORD});
    let founded = world.posts(anonymous, "/api/auth/register", founding).await;
    let mut admin = anonymous.with_token(founded["token"].as_str().unwrap());
    admin.id = id_of(&world.gets(&admin, "/api/auth/me").await);
    admin
}

async fn logged_in(world: &mut World, anonymous: &Caller, email: &str) -> Caller {
    let told = world.posts(anonymous, "/api/auth/login", login(email, PASSWORD)).await;
    let mut person = anonymous.with_token(told["token"].as_str().unwrap());
    person.id = id_of(&told["agent"]);
    person
}

/// A picture that shows a text.
fn picture(text: &str) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01".to_vec();
    bytes.extend(text.bytes().cycle().take(20_000));
    bytes
}
