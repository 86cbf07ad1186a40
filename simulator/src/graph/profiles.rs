//! What a page shows beside a conversation: the button to begin, the persistent menu, ice breakers
//! (Meta, "Messenger Profile API").

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::desk::Desk;
use super::numbers::done;
use super::routes::{Answered, Call, Reply};
use crate::error::GraphError;

const FIELDS: [&str; 3] = ["get_started", "persistent_menu", "ice_breakers"];
const ITEMS: usize = 20;
const TITLE: usize = 30;
/// Pages that have something; beyond it nothing is taken.
const PAGES: usize = 10_000;

/// What pages show, by their ids.
#[derive(Debug, Default)]
pub(super) struct Profiles(HashMap<String, Map<String, Value>>);

/// What was asked for.
pub(super) fn get(desk: &Arc<Desk>, call: &Call) -> Answered {
    let fields = call.needed("fields")?;
    let wanted: Vec<_> = fields.split(',').map(str::trim).collect();
    let shown = desk.state().profiles.0.get(&call.id).cloned().unwrap_or_default();
    let shown: Map<_, _> =
        shown.into_iter().filter(|(name, _)| wanted.contains(&name.as_str())).collect();
    let data = if shown.is_empty() { json!([]) } else { json!([shown]) };
    Ok(Reply::Json(json!({"data": data})))
}

/// Shows something else.
pub(super) fn set(desk: &Arc<Desk>, call: &Call) -> Answered {
    let body = call.json()?;
    let mut state = desk.state();
    let profiles = &mut state.profiles.0;
    if profiles.len() >= PAGES && !profiles.contains_key(&call.id) {
        return Err(GraphError::invalid("There are too many pages."));
    }
    let mut profile = profiles.get(&call.id).cloned().unwrap_or_default();
    for name in FIELDS {
        profile.extend(body.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    check(&profile)?;
    profiles.insert(call.id.clone(), profile);
    done()
}

/// Shows it no more.
pub(super) fn delete(desk: &Arc<Desk>, call: &Call) -> Answered {
    let body = call.json()?;
    let fields = body["fields"].as_array().ok_or_else(|| GraphError::missing("fields"))?;
    let mut state = desk.state();
    let mut profile = state.profiles.0.get(&call.id).cloned().unwrap_or_default();
    fields.iter().filter_map(Value::as_str).for_each(|name| drop(profile.remove(name)));
    check(&profile)?;
    state.profiles.0.insert(call.id.clone(), profile);
    done()
}

fn check(profile: &Map<String, Value>) -> Result<(), GraphError> {
    let wrong = |words: &'static str| Err(GraphError::invalid(words));
    let Some(menus) = profile.get("persistent_menu") else { return Ok(()) };
    if !profile.get("get_started").is_some_and(|button| button["payload"].is_string()) {
        return wrong("You must set a Get Started button if you also wish to use a menu.");
    }
    let menus = menus.as_array().map_or(&[][..], Vec::as_slice);
    if !menus.iter().any(|menu| menu["locale"] == "default") {
        return wrong("persistent_menu needs a menu of the default locale.");
    }
    let is_item = |item: &Value| {
        let title = item["title"].as_str().map_or(0, |title| title.chars().count());
        let says = match item["type"].as_str() {
            Some("postback") => item["payload"].is_string(),
            Some("web_url") => item["url"].is_string(),
            _ => false,
        };
        says && (1..=TITLE).contains(&title)
    };
    let are_right = menus.iter().all(|menu| {
        let items = menu["call_to_actions"].as_array().map_or(&[][..], Vec::as_slice);
        (1..=ITEMS).contains(&items.len()) && items.iter().all(is_item)
    });
    if are_right { Ok(()) } else { wrong("persistent_menu has an item that is none.") }
}
