//! Logins at Meta: for the code that somebody was given there, an app gets access tokens (Facebook
//! Login, "Manually build a login flow"; Instagram API with Instagram Login, "Business Login"; Cloud
//! API, "Embedded Signup").

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::reading::text;
use super::whatsapp::outcome;
use super::{Answered, Api, Call, Method, Outcome};
use crate::message::MessageError;

/// The app at Meta by which people log in.
#[derive(Clone, Copy)]
pub struct LoginApp<'a> {
    pub id: &'a str,
    pub secret: &'a str,
}

/// An access token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub token: String,
    /// For how long it counts, where that is said.
    pub lasts: Option<Duration>,
}

/// A page of which somebody has given the app the token.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenPage {
    pub id: String,
    pub name: String,
    pub token: String,
}

/// A professional account of Instagram, as it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenAccount {
    /// What webhooks name it by.
    pub id: String,
    pub username: Option<String>,
}

/// Why the provider gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGiven {
    /// The provider says no, to this or for now.
    Refused(MessageError),
    /// It says no to whatever is asked for by this token.
    Stopped(MessageError),
    /// It could not be asked, or did not answer.
    Unanswered(String),
}

/// Nobody has names that are longer.
const NAME_CHARS_MAX: usize = 200;
/// A person's pages are asked for by so many.
const PAGES: &str = "100";
/// What Instagram puts behind the code in the address to which it leads people back.
const END_OF_CODE: &str = "#_";

/// Asks for the token of a code. `redirect`: where the person was led back to with it; `None` where
/// a window of Meta's own had it.
pub fn exchange(app: LoginApp<'_>, code: &str, redirect: Option<&str>) -> Call {
    let mut asked = vec![("client_id", app.id), ("client_secret", app.secret), ("code", code)];
    asked.extend(redirect.map(|redirect| ("redirect_uri", redirect)));
    get(Api::Graph, "oauth/access_token", &asked, "")
}

/// Asks for a token that counts for weeks instead of one that counts for hours.
pub fn extend(app: LoginApp<'_>, token: &str) -> Call {
    let asked = [
        ("grant_type", "fb_exchange_token"),
        ("client_id", app.id),
        ("client_secret", app.secret),
        ("fb_exchange_token", token),
    ];
    get(Api::Graph, "oauth/access_token", &asked, "")
}

/// Asks for the pages that somebody manages, behind those of the answer that named `after`.
pub fn pages(token: &str, after: Option<&str>) -> Call {
    let mut asked = vec![("fields", "id,name,access_token"), ("limit", PAGES)];
    asked.extend(after.map(|after| ("after", after)));
    get(Api::Graph, "me/accounts", &asked, token)
}

/// The same as [`exchange`] at Instagram.
pub fn instagram_exchange(app: LoginApp<'_>, code: &str, redirect: &str) -> Call {
    let form = json!({
        "client_id": app.id,
        "client_secret": app.secret,
        "grant_type": "authorization_code",
        "redirect_uri": redirect,
        "code": code.strip_suffix(END_OF_CODE).unwrap_or(code),
    });
    let (api, path) = (Api::InstagramLogin, "oauth/access_token".to_owned());
    Call { api, method: Method::Post, path, bearer: String::new(), body: Some(form) }
}

/// The same as [`extend`] at Instagram.
pub fn instagram_extend(app: LoginApp<'_>, token: &str) -> Call {
    let asked = [
        ("grant_type", "ig_exchange_token"),
        ("client_secret", app.secret),
        ("access_token", token),
    ];
    get(Api::InstagramTokens, "access_token", &asked, "")
}

/// Asks for one that counts for weeks from now on, instead of one that still counts.
pub fn instagram_refresh(token: &str) -> Call {
    let asked = [("grant_type", "ig_refresh_token"), ("access_token", token)];
    get(Api::InstagramTokens, "refresh_access_token", &asked, "")
}

/// Asks whose a token of Instagram's is.
pub fn instagram_account(token: &str) -> Call {
    get(Api::Instagram, "me", &[("fields", "user_id,username")], token)
}

/// The token that an answer gives. Instagram's stands in a list at times.
pub fn token(answered: Answered) -> Result<Token, NotGiven> {
    let said = given(answered)?;
    let of = |key: &str| stated(&said, key);
    let seconds = of("expires_in").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
    let token = of("access_token").and_then(text).ok_or_else(nothing)?;
    Ok(Token { token, lasts: seconds.map(Duration::from_secs) })
}

/// The pages that an answer gives, and where the next ones begin. A page of which somebody is no
/// more than a member has no token.
pub fn given_pages(answered: Answered) -> Result<(Vec<GivenPage>, Option<String>), NotGiven> {
    let said = given(answered)?;
    let listed = said.get("data").and_then(Value::as_array).ok_or_else(nothing)?;
    let page = |listed: &Value| {
        let of = |key: &str| listed.get(key).and_then(text);
        let (id, token) = (of("id")?, of("access_token")?);
        let name = of("name").unwrap_or_else(|| id.clone());
        Some(GivenPage { id, name: name.chars().take(NAME_CHARS_MAX).collect(), token })
    };
    let after = said.pointer("/paging/cursors/after").and_then(text);
    let after = after.filter(|_| said.pointer("/paging/next").is_some());
    Ok((listed.iter().filter_map(page).collect(), after))
}

/// Whose a token of Instagram's is, as an answer says.
pub fn given_account(answered: Answered) -> Result<GivenAccount, NotGiven> {
    let said = given(answered)?;
    let of = |key: &str| stated(&said, key);
    let id = of("user_id").or_else(|| of("id")).and_then(text).ok_or_else(nothing)?;
    let username = of("username").and_then(text);
    let username = username.map(|name| name.chars().take(NAME_CHARS_MAX).collect());
    Ok(GivenAccount { id, username })
}

/// What stands under a key, or in the one entry of a list.
fn stated<'v>(said: &'v Value, key: &str) -> Option<&'v Value> {
    said.get(key).or_else(|| said.pointer("/data/0")?.get(key))
}

fn get(api: Api, path: &str, asked: &[(&str, &str)], token: &str) -> Call {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let path = format!("{path}?{}", query.extend_pairs(asked).finish());
    Call { api, method: Method::Get, path, bearer: token.to_owned(), body: None }
}

/// What an answer gives, as JSON.
pub fn given(answered: Answered) -> Result<Value, NotGiven> {
    let (status, body) = match &answered {
        Answered::With { status, body, .. } => (*status, body),
        Answered::NotSent(reason) | Answered::PerhapsSent(reason) => {
            return Err(NotGiven::Unanswered(reason.clone()));
        }
    };
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok(said);
    }
    // Instagram's logins have a form of their own.
    if let Some(words) = said.get("error_message").and_then(Value::as_str) {
        let code = said.get("code").and_then(text).unwrap_or_else(|| status.to_string());
        let message = words.chars().take(500).collect();
        return Err(NotGiven::Refused(MessageError { code, message }));
    }
    // Whatever stands before the provider, and says no, knows nothing of what was asked.
    if said.pointer("/error/code").and_then(Value::as_i64).is_none() {
        let reason = format!("the provider answered {status} without a reason");
        return Err(NotGiven::Unanswered(reason));
    }
    Err(match outcome(answered) {
        // It takes too much to answer now, and says nothing of what was asked.
        Outcome::Retry { error, .. } => NotGiven::Unanswered(error.to_string()),
        Outcome::Refused { error } => NotGiven::Refused(error),
        Outcome::AccountStopped { error } => NotGiven::Stopped(error),
        Outcome::Unknown { reason } => NotGiven::Unanswered(reason),
        Outcome::Sent { .. } => nothing(),
    })
}

fn nothing() -> NotGiven {
    NotGiven::Unanswered("the provider's answer does not hold what was asked for".to_owned())
}

impl fmt::Display for NotGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) | Self::Stopped(error) => error.fmt(f),
            Self::Unanswered(reason) => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::{
        GivenAccount, LoginApp, NotGiven, exchange, given_account, given_pages, instagram_exchange,
        pages, token,
    };
    use crate::channel::Answered;
    use crate::message::MessageError;

    const APP: LoginApp<'_> = LoginApp { id: "8000", secret: "a & b" };

    fn answers(status: u16, body: Value) -> Answered {
        Answered::With { status, body: body.to_string().into_bytes(), wait: None }
    }

    #[test]
    fn a_code_is_a_part_of_the_address_and_leads_nowhere_else() {
        let call = exchange(APP, "x&client_id=1#", Some("https://desk.example.com/?a=b"));
        assert_eq!(
            call.path,
            "oauth/access_token?client_id=8000&client_secret=a+%26+b&code=x%26client_id%3D1%23\
             &redirect_uri=https%3A%2F%2Fdesk.example.com%2F%3Fa%3Db"
        );
        assert!(!exchange(APP, "x", None).path.contains("redirect_uri"));
        assert!(pages("t", Some("a/b")).path.ends_with("&after=a%2Fb"));
        let form = instagram_exchange(APP, "x#_", "https://desk.example.com/").body.unwrap();
        assert_eq!(form["code"], "x");
    }

    #[test]
    fn a_token_stands_where_it_stands_and_lasts_as_long_as_is_said() {
        let read = |body| token(answers(200, body)).ok().map(|token| (token.token, token.lasts));
        let hour = Some(Duration::from_secs(3_600));
        let one = || "t".to_owned();
        assert_eq!(read(json!({"access_token": "t", "expires_in": 3600})), Some((one(), hour)));
        assert_eq!(read(json!({"access_token": "t", "expires_in": 0})), Some((one(), None)));
        assert_eq!(read(json!({"data": [{"access_token": "t"}]})), Some((one(), None)));
        assert_eq!(read(json!({"data": []})), None);
        assert_eq!(read(json!("t")), None);
    }

    #[test]
    fn pages_without_a_token_are_none_and_the_last_answer_names_no_next() {
        let cursors = json!({"after": "c"});
        let data = json!([
            {"id": 501, "name": "Shop", "access_token": "p"}, {"id": "502", "name": "No token"},
            {"access_token": "p"}, 7,
        ]);
        let next = json!({"data": data, "paging": {"cursors": cursors, "next": "https://x"}});
        let (pages, after) = given_pages(answers(200, next)).ok().unwrap();
        assert_eq!((pages.len(), after.as_deref()), (1, Some("c")));
        assert_eq!((&*pages[0].id, &*pages[0].name, &*pages[0].token), ("501", "Shop", "p"));
        let last = json!({"data": [], "paging": {"cursors": cursors}});
        assert!(
            given_pages(answers(200, last))
                .is_ok_and(|(pages, after)| { pages.is_empty() && after.is_none() })
        );
        assert!(given_pages(answers(200, json!({}))).is_err());
        let account = given_account(answers(200, json!({"id": "1", "user_id": 17841})));
        assert_eq!(account, Ok(GivenAccount { id: "17841".to_owned(), username: None }));
    }

    #[test]
    fn refusals_come_in_two_forms_and_silence_is_none() {
        let refused = |code: &str, message: &str| {
            let (code, message) = (code.to_owned(), message.to_owned());
            Some(NotGiven::Refused(MessageError { code, message }))
        };
        let read = |answered| token(answered).err();
        let graph = json!({"error": {"message": "used", "code": 100, "error_subcode": 36009}});
        assert_eq!(read(answers(400, graph)), refused("100", "used"));
        let gram = json!({"error_type": "OAuthException", "code": 400, "error_message": "used"});
        assert_eq!(read(answers(400, gram)), refused("400", "used"));
        let ended = json!({"error": {"message": "ended", "code": 190}});
        let (code, message) = ("190".to_owned(), "ended".to_owned());
        let stopped = NotGiven::Stopped(MessageError { code, message });
        assert_eq!(read(answers(401, ended)), Some(stopped));
        let proxy = json!({"error": "forbidden"});
        let silence =
            [Answered::NotSent(String::new()), answers(502, json!("<html>")), answers(403, proxy)];
        for silent in silence {
            assert!(matches!(read(silent), Some(NotGiven::Unanswered(_))));
        }
    }
}
