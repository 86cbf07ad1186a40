//! What people grant by a login at Meta: codes are exchanged for access tokens at once, since they
//! count for seconds. The pages that somebody has logged in for are held until they have chosen among
//! them, in memory alone: of those that nobody chooses no token is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::channel::Call;
use engine::channel::login::{self, GivenAccount, GivenPage, LoginApp, NotGiven, Token};
use engine::id::{AgentId, TenantId};
use engine::time::Timestamp;

use crate::provider::Provider;

/// Exchanges codes, and holds pages. Clones are the same.
#[derive(Clone)]
pub struct Grants(Arc<Inner>);

struct Inner {
    provider: Provider,
    options: GrantOptions,
    held: Mutex<HashMap<(TenantId, AgentId), Held>>,
}

/// The limits of logins.
#[derive(Clone, Debug)]
pub struct GrantOptions {
    /// For how long pages are held.
    pub keep: Duration,
    /// People whose pages are held; the oldest make room.
    pub people: usize,
    /// Pages of one person; the others are not seen.
    pub pages: usize,
}

/// The pages that somebody may choose from.
struct Held {
    pages: Arc<[GivenPage]>,
    until: Timestamp,
}

/// So many answers are asked for until all of somebody's pages are there; each has up to a hundred.
const ANSWERS_MAX: usize = 50;

impl Grants {
    /// Through this provider.
    pub fn new(provider: Provider, options: GrantOptions) -> Self {
        Self(Arc::new(Inner { provider, options, held: Mutex::default() }))
    }

    /// The token of a business account that somebody signed up in a window of Meta's.
    pub async fn business(&self, app: LoginApp<'_>, code: &str) -> Result<Token, NotGiven> {
        self.token(login::exchange(app, code, None)).await
    }

    /// The account of Instagram that somebody logged in with, and its token, which lasts.
    pub async fn instagram(
        &self,
        app: LoginApp<'_>,
        code: &str,
        redirect: &str,
    ) -> Result<(GivenAccount, Token), NotGiven> {
        let brief = self.token(login::instagram_exchange(app, code, redirect)).await?;
        let token = self.token(login::instagram_extend(app, &brief.token)).await?;
        let asked = login::instagram_account(&token.token);
        let account = login::given_account(self.0.provider.perform(asked).await)?;
        Ok((account, token))
    }

    /// The pages that somebody logged in for. They are held as of `now` for whoever it is.
    pub async fn pages(
        &self,
        app: LoginApp<'_>,
        code: &str,
        redirect: &str,
        (who, now): ((TenantId, AgentId), Timestamp),
    ) -> Result<(Arc<[GivenPage]>, Timestamp), NotGiven> {
        let brief = self.token(login::exchange(app, code, Some(redirect))).await?;
        // Pages whose person has a token that lasts have one that does not end.
        let person = self.token(login::extend(app, &brief.token)).await?;
        let GrantOptions { keep, people, pages: most } = self.0.options;
        let mut pages: Vec<GivenPage> = Vec::new();
        let mut after = None;
        for _ in 0..ANSWERS_MAX {
            let asked = login::pages(&person.token, after.as_deref());
            let (more, next) = login::given_pages(self.0.provider.perform(asked).await)?;
            let is_empty = more.is_empty();
            pages.extend(more);
            if pages.len() >= most || is_empty || next.is_none() {
                break;
            }
            after = next;
        }
        pages.truncate(most);
        let (pages, until): (Arc<[GivenPage]>, _) = (pages.into(), now + keep);
        let mut held = self.held();
        held.retain(|_, held| now < held.until);
        while held.len() >= people && !held.contains_key(&who) {
            let oldest = held.iter().min_by_key(|(_, held)| held.until).map(|(who, _)| *who);
            held.remove(&oldest.expect("it is not empty"));
        }
        held.insert(who, Held { pages: pages.clone(), until });
        Ok((pages, until))
    }

    /// The pages that somebody may choose from; `None`: they have not logged in lately.
    pub fn held_for(&self, who: (TenantId, AgentId), now: Timestamp) -> Option<Arc<[GivenPage]>> {
        let held = self.held();
        held.get(&who).filter(|held| now < held.until).map(|held| held.pages.clone())
    }

    async fn token(&self, call: Call) -> Result<Token, NotGiven> {
        login::token(self.0.provider.perform(call).await)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(TenantId, AgentId), Held>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::get;
    use axum::{Json, Router};
    use engine::channel::login::LoginApp;
    use engine::id::{AgentId, TenantId};
    use engine::time::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    use super::{ANSWERS_MAX, GrantOptions, Grants};
    use crate::provider::{Provider, ProviderOptions};

    #[tokio::test]
    async fn a_provider_that_always_names_a_next_answer_is_not_followed_for_ever() {
        let page = json!({"id": "501", "name": "Shop", "access_token": "EAApage"});
        let more = json!({"cursors": {"after": "more"}, "next": "https://graph.example.com/"});
        let answer = json!({"data": [page], "paging": more});
        let router = Router::new()
            .route("/v23.0/oauth/access_token", get(async || Json(json!({"access_token": "EAA"}))))
            .route("/v23.0/me/accounts", get(async move || Json(answer.clone())));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let minute = Duration::from_secs(60);
        let provider = Provider::new(ProviderOptions {
            graph_url: url.clone(),
            instagram_url: url.clone(),
            instagram_auth_url: url,
            graph_version: "v23.0".into(),
            connect_timeout: minute,
            timeout: minute,
            upload_timeout: minute,
            answer_bytes: 1_000,
        });
        let options = GrantOptions { keep: minute, people: 1, pages: 10 * ANSWERS_MAX };
        let grants = Grants::new(provider.unwrap(), options);
        let who = ((TenantId(Uuid::nil()), AgentId(Uuid::nil())), Timestamp(0));
        let app = LoginApp { id: "8000", secret: "hush" };
        let (pages, _) = grants.pages(app, "code", "https://desk.example.com/", who).await.unwrap();
        assert_eq!(pages.len(), ANSWERS_MAX);
    }
}
