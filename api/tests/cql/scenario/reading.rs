//! All that is there, read as a person would, page by page, and found.

use reqwest::Method;
use serde_json::Value;

use super::{Desk, WORDS, id_of, rows};
use crate::caller::Caller;
use crate::harness::eventually;
use crate::world::Exchange;

impl Desk {
    /// Everything that can be read, page by page, by everybody. Answers what was told of it.
    pub(super) async fn looks_at_everything(&mut self) -> Vec<Exchange> {
        let from = self.world.told.len();
        for who in self.people.clone() {
            for path in [
                "/api/auth/me",
                "/api/agents",
                "/api/roles",
                "/api/permissions",
                "/api/quick-replies",
                "/api/api-keys",
                "/api/integrations",
                "/api/integrations/accounts",
                "/api/dead-letters",
                "/api/conversations?status=open",
                "/api/conversations?status=resolved&per_page=2",
                "/health",
            ] {
                self.world.gets(&who, path).await;
            }
            let id = &who.id;
            self.world.gets(&who, &format!("/api/conversations?assigned_agent_id={id}")).await;
            for one in self.pages(&who, "/api/conversations", 3).await {
                let path = format!("/api/conversations/{}", id_of(&one));
                self.world.gets(&who, &path).await;
                let messages = self.pages(&who, &format!("{path}/messages"), 7).await;
                self.looks_at_messages(&who, &path, &messages).await;
            }
            for one in self.pages(&who, "/api/contacts", 4).await {
                let path = format!("/api/contacts/{}", id_of(&one));
                self.world.gets(&who, &path).await;
                self.pages(&who, &format!("{path}/conversations"), 2).await;
            }
            self.pages(&who, "/api/activity-logs", 10).await;
            for id in self.files.clone() {
                self.world.gets(&who, &format!("/api/media/{id}")).await;
            }
        }
        self.searches().await;
        self.world.told[from..].to_vec()
    }

    async fn looks_at_messages(&mut self, who: &Caller, path: &str, messages: &[Value]) {
        if let Some(middle) = messages.get(messages.len() / 2) {
            let seq = &middle["seq"];
            for query in [format!("before_seq={seq}"), format!("after_seq={seq}&per_page=3")] {
                self.world.gets(who, &format!("{path}/messages?{query}")).await;
            }
        }
        let files = messages.iter().filter_map(|one| one["attachments"].as_array()).flatten();
        for file in files.filter_map(|file| file["media_id"].as_str()) {
            let path = format!("/api/media/{file}");
            self.world.gets(who, &path).await;
            let part = who.request(Method::GET, &path).header("range", "bytes=3-9");
            self.world.hears("a part", part).await;
        }
    }

    /// A list page by page, to its end.
    async fn pages(&mut self, who: &Caller, path: &str, per_page: usize) -> Vec<Value> {
        let mut all = Vec::new();
        for page in 1.. {
            let found =
                self.world.gets(who, &format!("{path}?per_page={per_page}&page={page}")).await;
            // Somebody may not see it.
            let Value::Array(found) = found else { break };
            let is_last = found.len() < per_page;
            all.extend(found);
            if is_last {
                break;
            }
        }
        all
    }

    /// By each word, messages and contacts, once as many are found as there are.
    pub(super) async fn searches(&mut self) {
        let admin = self.admin();
        let mut texts = Vec::new();
        for one in rows(admin.get("/api/conversations?per_page=100").await.is(200)) {
            let path = format!("/api/conversations/{}/messages?per_page=100", id_of(&one));
            let all = rows(admin.get(&path).await.is(200));
            texts.extend(all.iter().filter_map(|one| one["text"].as_str().map(str::to_owned)));
        }
        let contacts = rows(admin.get("/api/contacts?per_page=100").await.is(200));
        for word in WORDS {
            let wanted = texts.iter().filter(|text| text.contains(word)).count();
            let path = format!("/api/messages/search?q={word}&per_page=100");
            self.finds(&path, Some(wanted)).await;
            self.finds(&format!("{path}&channel=whatsapp"), None).await;
            let is_tagged =
                |one: &&Value| one["tags"].as_array().unwrap().iter().any(|tag| tag == word);
            let wanted = contacts.iter().filter(is_tagged).count();
            let path = format!("/api/contacts?tag={word}&per_page=100");
            self.finds(&path, Some(wanted)).await;
        }
    }

    /// Everybody looks there, once the admin finds as many.
    async fn finds(&mut self, path: &str, wanted: Option<usize>) {
        let admin = self.admin();
        eventually(async || {
            let found = rows(admin.get(path).await.is(200));
            wanted.is_none_or(|wanted| found.len() == wanted).then_some(())
        })
        .await;
        for who in self.people.clone() {
            self.world.gets(&who, path).await;
        }
    }
}
