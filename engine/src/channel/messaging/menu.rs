//! The menu that a page's customers have beside what they write, and its requests (Messenger Platform,
//! "Persistent menu").

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::encode::Speaker;
use crate::channel::{Call, Method};
use crate::resource::Invalid;
use crate::saying::link;
use crate::text;

/// What customers of one language have as their menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PersistentMenu")]
pub struct Menu {
    /// A language such as `en_US`; `default` for all others.
    pub locale: String,
    /// Customers press, and do not write.
    #[serde(default)]
    pub composer_input_disabled: bool,
    pub call_to_actions: Vec<MenuItem>,
}

/// What they can press: it sends its payload as a postback, or leads to a page of the web.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "PersistentMenuItem")]
pub enum MenuItem {
    Postback { title: String, payload: String },
    WebUrl { title: String, url: String },
}

const LOCALES_MAX: usize = 100;
const LOCALE_BYTES_MAX: usize = 32;
const ITEMS_MAX: usize = 20;
const TITLE_CHARS_MAX: usize = 30;
const PAYLOAD_CHARS_MAX: usize = 1000;
/// The payload of the button with which customers begin. There is no menu without one.
const GET_STARTED: &str = "GET_STARTED";

/// Says what is wrong with menus that stand under `field`.
pub fn check_menus(field: &str, menus: &[Menu]) -> Result<(), Invalid> {
    let wrong = |at: String, message: &str| Err(Invalid::field(format!("{field}{at}"), message));
    if menus.len() > LOCALES_MAX {
        return wrong(String::new(), "must be at most 100 menus");
    }
    let mut locales = BTreeSet::new();
    for (n, menu) in menus.iter().enumerate() {
        let is_plain = |b: u8| b.is_ascii_alphabetic() || b == b'_';
        let locale = menu.locale.as_bytes();
        if !(1..=LOCALE_BYTES_MAX).contains(&locale.len()) || !locale.iter().copied().all(is_plain)
        {
            return wrong(format!("[{n}].locale"), "must be `default` or a locale such as en_US");
        }
        if !locales.insert(&menu.locale) {
            return wrong(format!("[{n}].locale"), "has a menu already");
        }
        let at = format!("[{n}].call_to_actions");
        if !(1..=ITEMS_MAX).contains(&menu.call_to_actions.len()) {
            return wrong(at, "must be 1 to 20 items");
        }
        for (m, item) in menu.call_to_actions.iter().enumerate() {
            if let Some((name, message)) = wrong_item(item) {
                return wrong(format!("{at}[{m}].{name}"), &message);
            }
        }
    }
    match menus.is_empty() || menus.iter().any(|menu| menu.locale == "default") {
        true => Ok(()),
        false => wrong(String::new(), "must hold one whose `locale` is `default`"),
    }
}

fn wrong_item(item: &MenuItem) -> Option<(&'static str, String)> {
    let (MenuItem::Postback { title, .. } | MenuItem::WebUrl { title, .. }) = item;
    let title = text::wrong(title, TITLE_CHARS_MAX).map(|wrong| ("title", wrong));
    title.or_else(|| match item {
        MenuItem::Postback { payload, .. } => {
            text::wrong(payload, PAYLOAD_CHARS_MAX).map(|wrong| ("payload", wrong))
        }
        MenuItem::WebUrl { url, .. } => link(url).map(|wrong| ("url", wrong.to_owned())),
    })
}

/// Asks for a page's menus.
pub fn menus(from: Speaker<'_>) -> Call {
    let path = format!("{}/messenger_profile?fields=persistent_menu,get_started", from.key);
    from.call(Method::Get, path, None)
}

/// The menus that an answer shows, and whether customers have a button with which they begin. What
/// is of a kind that is not made here is left out.
pub fn read_menus(said: &Value) -> (Vec<Menu>, bool) {
    let profile = said.pointer("/data/0");
    let listed = profile.and_then(|profile| profile.get("persistent_menu")?.as_array());
    let menu = |listed: &Value| {
        let items = listed.get("call_to_actions").and_then(Value::as_array);
        let item = |item: &Value| {
            let of = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
            let title = of("title")?;
            match item.get("type")?.as_str()? {
                "postback" => Some(MenuItem::Postback { title, payload: of("payload")? }),
                "web_url" => Some(MenuItem::WebUrl { title, url: of("url")? }),
                _ => None,
            }
        };
        Some(Menu {
            locale: listed.get("locale")?.as_str()?.to_owned(),
            composer_input_disabled: listed.get("composer_input_disabled") == Some(&true.into()),
            call_to_actions: items.into_iter().flatten().filter_map(item).collect(),
        })
    };
    let menus = listed.into_iter().flatten().filter_map(menu).collect();
    (menus, profile.is_some_and(|profile| profile.get("get_started").is_some()))
}

/// Gives a page these menus instead of those it has; none: it has none any more. `begins`: its
/// customers have a button with which they begin.
pub fn set_menus(from: Speaker<'_>, menus: &[Menu], begins: bool) -> Call {
    let path = format!("{}/messenger_profile", from.key);
    if menus.is_empty() {
        return from.call(Method::Delete, path, Some(json!({"fields": ["persistent_menu"]})));
    }
    let mut body = json!({"persistent_menu": menus});
    if !begins {
        body["get_started"] = json!({"payload": GET_STARTED});
    }
    from.call(Method::Post, path, Some(body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Menu, MenuItem, check_menus, read_menus, set_menus};
    use crate::channel::messaging::Speaker;
    use crate::channel::{Channel, Method};

    fn menu(locale: &str, item: MenuItem) -> Menu {
        let (locale, call_to_actions) = (locale.to_owned(), vec![item]);
        Menu { locale, composer_input_disabled: false, call_to_actions }
    }

    fn press(title: &str) -> MenuItem {
        MenuItem::Postback { title: title.to_owned(), payload: "GO".to_owned() }
    }

    fn leads(url: &str) -> MenuItem {
        MenuItem::WebUrl { title: "Shop".to_owned(), url: url.to_owned() }
    }

    #[test]
    fn a_menu_is_what_the_provider_takes() {
        let wrong = |menus: &[Menu]| {
            check_menus("menus", menus).err().map(|wrong| wrong.details[0].field.clone())
        };
        let good = || menu("default", press(&"x".repeat(30)));
        assert_eq!(wrong(&[]), None);
        assert_eq!(wrong(&[good(), menu("id_ID", leads("https://example.com/"))]), None);
        let field = |field: &str| Some(field.to_owned());
        assert_eq!(wrong(&[menu("en_US", press("x"))]), field("menus"));
        assert_eq!(wrong(&[good(), good()]), field("menus[1].locale"));
        assert_eq!(wrong(&[menu("en-US", press("x"))]), field("menus[0].locale"));
        let item = |name: &str| field(&format!("menus[0].call_to_actions[0].{name}"));
        assert_eq!(wrong(&[menu("default", press(&"x".repeat(31)))]), item("title"));
        assert_eq!(wrong(&[menu("default", leads("http://localhost/"))]), item("url"));
        let blank = MenuItem::Postback { title: "x".to_owned(), payload: " ".to_owned() };
        assert_eq!(wrong(&[menu("default", blank)]), item("payload"));
        let items = |n| Menu { call_to_actions: vec![press("x"); n], ..good() };
        assert_eq!(wrong(&[items(20)]), None);
        assert_eq!(wrong(&[items(21)]), field("menus[0].call_to_actions"));
        assert_eq!(wrong(&[items(0)]), field("menus[0].call_to_actions"));
    }

    #[test]
    fn what_is_set_is_what_is_read_and_a_button_to_begin_is_kept() {
        let from = Speaker { channel: Channel::Messenger, key: "5", token: "t" };
        let menus = [menu("default", leads("https://example.com/")), menu("id_ID", press("Ya"))];
        let mut body = set_menus(from, &menus, false).body.unwrap();
        assert_eq!(body["get_started"], json!({"payload": "GET_STARTED"}));
        let shown = json!({"data": [body.take()]});
        assert_eq!(read_menus(&shown), (menus.to_vec(), true));
        assert!(set_menus(from, &menus, true).body.unwrap().get("get_started").is_none());
        assert_eq!(read_menus(&json!({"data": []})), (Vec::new(), false));
        let nested = json!([{"locale": "default", "call_to_actions": [{"type": "nested"}, 7]}]);
        let shown = json!({"data": [{"persistent_menu": nested}]});
        let empty = Menu { call_to_actions: Vec::new(), ..menu("default", press("x")) };
        assert_eq!(read_menus(&shown), (vec![empty], false));
        let none = set_menus(from, &[], true);
        assert!(none.method == Method::Delete && none.path == "5/messenger_profile");
    }
}
