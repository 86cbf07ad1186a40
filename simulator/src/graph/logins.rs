//! Logins (Meta, "Facebook Login", "Business Login for Instagram", "Embedded Signup"): people give an
//! app something, it gets a code for it that counts once and not for long, and tokens for the code.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::desk::Desk;
use super::routes::{Answered, Call, Reply};
use crate::error::{self, GraphError};

/// The path of a login's requests begins with it.
pub(super) const NODE: &str = "oauth";
/// Whoever a token is of.
pub(super) const ME: &str = "me";
/// The dialog in which people log in at Facebook.
const DIALOG: &str = "dialog";

/// The ids of the app; its secret is the one that signs webhooks.
const APP: &str = "8000";
const INSTAGRAM_APP: &str = "8001";
/// How long codes count: those of a window of Meta's own, of Facebook, of Instagram.
const OF_WINDOW: Duration = Duration::from_secs(30);
const OF_PAGES: Duration = Duration::from_mins(10);
const OF_INSTAGRAM: Duration = Duration::from_hours(1);
/// How long tokens do, as they say, in seconds: at first, and once they were exchanged.
const BRIEFLY: u64 = 3_600;
const LONG: u64 = 60 * 24 * 3_600;
/// Codes and tokens that are remembered; beyond it the oldest are forgotten.
const REMEMBERED: usize = 10_000;

/// Who logs in, and what they give the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A business, in the window of WhatsApp's embedded signup.
    Business,
    /// Somebody who manages these pages: their ids and names.
    Pages(Vec<(String, String)>),
    /// A professional account of Instagram.
    Instagram { id: String, username: String },
}

/// Codes and tokens that were given.
#[derive(Debug, Default)]
pub(super) struct Logins {
    codes: HashMap<String, Code>,
    tokens: HashMap<String, Login>,
    /// Both, the oldest first.
    given: VecDeque<String>,
}

#[derive(Debug)]
struct Code {
    login: Login,
    redirect: Option<String>,
    until: Duration,
}

impl Logins {
    /// Whether this is a token that was given here.
    pub(super) fn gave(&self, token: &str) -> bool {
        self.tokens.contains_key(token)
    }

    fn remember(&mut self, given: &str) {
        if self.given.len() >= REMEMBERED
            && let Some(oldest) = self.given.pop_front()
        {
            self.codes.remove(&oldest);
            self.tokens.remove(&oldest);
        }
        self.given.push_back(given.to_owned());
    }

    fn token(&mut self, token: String, login: Login) -> String {
        self.remember(&token);
        self.tokens.insert(token.clone(), login);
        token
    }
}

/// Somebody gives the app this; answers the code.
pub(super) fn consent(desk: &Desk, login: Login, redirect: Option<&str>) -> String {
    let lives = match &login {
        Login::Business => OF_WINDOW,
        Login::Pages(_) => OF_PAGES,
        Login::Instagram { .. } => OF_INSTAGRAM,
    };
    let until = desk.clock.passed() + lives;
    let mut state = desk.state();
    let code = format!("AQ{}", state.book.trace());
    state.logins.remember(&code);
    let redirect = redirect.map(str::to_owned);
    state.logins.codes.insert(code.clone(), Code { login, redirect, until });
    code
}

/// What is asked for without a token; `None`: it is something else.
pub(super) fn answer(desk: &Arc<Desk>, method: &Method, call: &Call) -> Option<Answered> {
    let is_get = method == Method::GET;
    Some(match (call.id.as_str(), call.edge.as_str()) {
        (NODE, "access_token") if is_get => exchange(desk, call),
        (NODE, "access_token") => exchange_instagram(desk, call),
        (NODE, "authorize") if is_get => dialog(desk, call, &gram(desk)),
        (DIALOG, "oauth") if is_get => dialog(desk, call, &pages(desk)),
        ("access_token" | "refresh_access_token", "") if is_get => last(desk, call),
        _ => return None,
    })
}

/// Leads a browser back, as if somebody had agreed to everything.
fn dialog(desk: &Desk, call: &Call, login: &Login) -> Answered {
    let redirect = call.needed("redirect_uri")?;
    let code = consent(desk, login.clone(), Some(&redirect));
    let state = call.parameter("state").unwrap_or_default();
    let back = [("code", code.as_str()), ("state", state.as_str())];
    let back = form_urlencoded::Serializer::new(String::new()).extend_pairs(back).finish();
    let end = if matches!(login, Login::Instagram { .. }) { "#_" } else { "" };
    Ok(Reply::To(format!("{redirect}?{back}{end}")))
}

/// Whoever logs in in a browser manages all pages that there are, and the first account.
fn pages(desk: &Desk) -> Login {
    let known = desk.options.pages.iter();
    let pages = known.filter(|page| page.object == crate::bodies::Object::Page);
    let mut pages: Vec<_> =
        pages.map(|page| (page.id.clone(), format!("Corner Store {}", page.id))).collect();
    if pages.is_empty() {
        pages.push(("5001".to_owned(), "Corner Store".to_owned()));
    }
    Login::Pages(pages)
}

fn gram(desk: &Desk) -> Login {
    let known = &desk.options.pages;
    let first = known.iter().find(|page| page.object == crate::bodies::Object::Instagram);
    let id = first.map_or_else(|| "17841".to_owned(), |page| page.id.clone());
    Login::Instagram { id, username: "corner.store".to_owned() }
}

/// A token for a code of Facebook's, or one that lasts for one that does not.
fn exchange(desk: &Desk, call: &Call) -> Answered {
    let of = |name: &str| call.query.get(name).map(String::as_str);
    if of("client_id") != Some(APP) {
        return Err(error::LOGIN.because("There is no such app."));
    }
    if of("client_secret") != Some(desk.options.app_secret.as_str()) {
        return Err(error::LOGIN.because("The client secret is wrong."));
    }
    if of("grant_type") == Some("fb_exchange_token") {
        let given = call.needed("fb_exchange_token")?;
        let mut state = desk.state();
        let login = state.logins.tokens.get(&given).cloned().ok_or(error::TOKEN)?;
        let token = format!("EAAL{}", state.book.trace());
        return token_of(state.logins.token(token, login), Some(LONG));
    }
    let login = spend(desk, &call.needed("code")?, of("redirect_uri"))?;
    let lasts = (login != Login::Business).then_some(BRIEFLY);
    let mut state = desk.state();
    let token = format!("EAAB{}", state.book.trace());
    token_of(state.logins.token(token, login), lasts)
}

/// The same of Instagram's, which takes a form, and has errors of its own.
fn exchange_instagram(desk: &Desk, call: &Call) -> Answered {
    let form: HashMap<_, _> = form_urlencoded::parse(&call.body).into_owned().collect();
    let of = |name: &str| form.get(name).map(String::as_str);
    let is_app = of("client_id") == Some(INSTAGRAM_APP)
        && of("client_secret") == Some(desk.options.app_secret.as_str())
        && of("grant_type") == Some("authorization_code");
    if !is_app {
        return refused("Error validating client secret.");
    }
    let spent = spend(desk, of("code").unwrap_or_default(), of("redirect_uri"));
    let Ok(login @ Login::Instagram { .. }) = spent else {
        return refused("Matching code was not found or was already used.");
    };
    let Login::Instagram { id, .. } = login.clone() else { return refused("It is none.") };
    let mut state = desk.state();
    let token = format!("IGAB{}", state.book.trace());
    let token = state.logins.token(token, login);
    let permissions = ["instagram_business_basic", "instagram_business_manage_messages"];
    let given = json!({"access_token": token, "user_id": id, "permissions": permissions});
    Ok(Reply::Json(json!({"data": [given]})))
}

fn refused(message: &str) -> Answered {
    let body = json!({"error_type": "OAuthException", "code": 400, "error_message": message});
    Ok(Reply::Refused(400, body))
}

/// One of Instagram's that lasts: for one that does not, or for one that still does.
fn last(desk: &Desk, call: &Call) -> Answered {
    let given = call.needed("access_token")?;
    let is_secret = call.query.get("client_secret") == Some(&desk.options.app_secret);
    let (wanted, begins, is_right) = match call.id.as_str() {
        "access_token" => ("ig_exchange_token", "IGAB", is_secret),
        _ => ("ig_refresh_token", "IGAL", true),
    };
    if call.query.get("grant_type").is_none_or(|grant| grant != wanted) || !is_right {
        return Err(error::LOGIN.because("grant_type or client_secret is wrong."));
    }
    let mut state = desk.state();
    let login = state.logins.tokens.get(&given).filter(|_| given.starts_with(begins)).cloned();
    let login = login.ok_or(error::TOKEN)?;
    let token = format!("IGAL{}", state.book.trace());
    token_of(state.logins.token(token, login), Some(LONG))
}

fn token_of(token: String, lasts: Option<u64>) -> Answered {
    let mut given = json!({"access_token": token, "token_type": "bearer"});
    if let Some(seconds) = lasts {
        given["expires_in"] = json!(seconds);
    }
    Ok(Reply::Json(given))
}

/// A code counts once, for the address to which it was led.
fn spend(desk: &Desk, code: &str, redirect: Option<&str>) -> Result<Login, GraphError> {
    let mut state = desk.state();
    let used = || error::LOGIN.because("This authorization code has been used.").sub(36_009);
    let known = state.logins.codes.get(code).ok_or_else(used)?;
    if known.redirect.as_deref() != redirect {
        let words = "The redirect_uri is not the one of the dialog.";
        return Err(error::LOGIN.because(words).sub(36_008));
    }
    let code = state.logins.codes.remove(code).ok_or_else(used)?;
    match code.until <= desk.clock.passed() {
        true => Err(error::LOGIN.because("This authorization code has expired.").sub(36_007)),
        false => Ok(code.login),
    }
}

/// The pages of whoever a token is of, each with a token of its own.
pub(super) fn accounts(desk: &Arc<Desk>, call: &Call) -> Answered {
    if call.id != ME {
        return Err(error::UNKNOWN_OBJECT);
    }
    let mut state = desk.state();
    let Some(Login::Pages(pages)) = state.logins.tokens.get(call.token()).cloned() else {
        return Err(error::TOKEN);
    };
    let number = |name: &str| call.query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (from, most) = (number("after").unwrap_or(0), number("limit").unwrap_or(25).max(1));
    let mut data = Vec::new();
    for (id, name) in pages.iter().skip(from).take(most) {
        let token = format!("EAAP{}", state.book.trace());
        let one = Login::Pages(vec![(id.clone(), name.clone())]);
        let token = state.logins.token(token, one);
        data.push(json!({"id": id, "name": name, "access_token": token}));
    }
    let next = from + data.len();
    let cursors = json!({"before": from.to_string(), "after": next.to_string()});
    let mut answer = json!({"data": data, "paging": {"cursors": cursors}});
    if next < pages.len() {
        answer["paging"]["next"] = json!(format!("{}{}&after={next}", call.base, call.path));
    }
    Ok(Reply::Json(answer))
}

/// Whoever a token of Instagram's is of.
pub(super) fn me(desk: &Arc<Desk>, call: &Call) -> Answered {
    let state = desk.state();
    let Some(Login::Instagram { id, username }) = state.logins.tokens.get(call.token()) else {
        return Err(error::TOKEN);
    };
    let scoped = format!("9{id}");
    let all = json!({"id": scoped, "user_id": id, "username": username});
    let shown: Value = super::numbers::shown(all, call.query.get("fields")).into();
    Ok(Reply::Json(shown))
}
