//! Templates: made, reviewed, changed, deleted, and whether one may be sent (Meta, "Templates").

mod review;
mod rules;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::desk::Desk;
use super::numbers::{done, shown};
use super::routes::{Answered, Call, Reply};
use crate::error::{self, GraphError};
pub(super) use review::settle;
use rules::{Draft, parameters};

/// Templates of one business account.
const TEMPLATES: usize = 250;
/// How long a name stays taken that was deleted after it had been approved.
const NAME_TAKEN: Duration = Duration::from_hours(30 * 24);
/// Changes of an approved template in the times below.
const EDITS: usize = 10;
const EDITS_TIME: Duration = Duration::from_hours(30 * 24);
const EDIT_PAUSE: Duration = Duration::from_hours(24);
/// Templates of one page, unless asked otherwise, and at most.
const PAGE: usize = 25;
const PAGE_MAX: usize = 1_000;
/// The first id is one that no float holds.
const FIRST_ID: u64 = (1 << 53) + 1;

/// A template.
#[derive(Clone, Debug)]
pub(super) struct Template {
    id: u64,
    waba_id: String,
    draft: Draft,
    status: &'static str,
    reason: &'static str,
    quality: &'static str,
    /// When it was changed while it was approved.
    edits: VecDeque<Duration>,
}

/// All templates, by id.
#[derive(Debug, Default)]
pub(super) struct Templates {
    all: BTreeMap<u64, Template>,
    /// Until when a name cannot be taken again, by business account and name.
    taken: HashMap<(String, String), Duration>,
    made: u64,
}

impl Template {
    fn node(&self) -> Value {
        let mut node = json!({
            "id": self.id.to_string(),
            "name": self.draft.name,
            "language": self.draft.language,
            "category": self.draft.category,
            "parameter_format": self.draft.parameter_format,
            "status": self.status,
            "components": self.draft.components,
            "quality_score": {"score": self.quality},
        });
        if self.status == "REJECTED" {
            node["rejected_reason"] = json!(self.reason);
        }
        node
    }
}

impl Templates {
    /// The business account of the template with this id.
    pub(super) fn waba_of(&self, id: &str) -> Option<String> {
        Some(self.all.get(&id.parse().ok()?)?.waba_id.clone())
    }

    fn of<'a>(&'a self, waba_id: &'a str) -> impl DoubleEndedIterator<Item = &'a Template> {
        self.all.values().filter(move |template| template.waba_id == waba_id)
    }

    fn find(&self, waba_id: &str, name: &str, language: &str) -> Option<&Template> {
        let is_it = |it: &&Template| {
            it.waba_id == waba_id && it.draft.name == name && it.draft.language == language
        };
        self.all.values().find(is_it)
    }

    /// Makes one without a review, for tests that only send it.
    pub(super) fn approve(&mut self, waba_id: &str, body: &Value) -> Result<u64, GraphError> {
        let draft = Draft::read(body)?;
        Ok(self.add(waba_id, draft, "APPROVED"))
    }

    fn add(&mut self, waba_id: &str, draft: Draft, status: &'static str) -> u64 {
        let id = FIRST_ID + self.made;
        self.made += 1;
        let template = Template {
            id,
            waba_id: waba_id.to_owned(),
            draft,
            status,
            reason: "NONE",
            quality: "UNKNOWN",
            edits: VecDeque::new(),
        };
        self.all.insert(id, template);
        id
    }

    /// Whether a message may be made of it now, and its category where it is known. A business
    /// account that never made any may send every name.
    pub(super) fn sendable(
        &self,
        waba_id: &str,
        content: &Value,
    ) -> Result<Option<String>, GraphError> {
        if self.of(waba_id).next().is_none() {
            return Ok(None);
        }
        let name = content["name"].as_str().unwrap_or_default();
        let language = content["language"]["code"].as_str().unwrap_or_default();
        let template = self.find(waba_id, name, language);
        let template = template.ok_or(error::UNKNOWN_TEMPLATE)?;
        match template.status {
            "APPROVED" => {}
            "PAUSED" => return Err(error::TEMPLATE_PAUSED),
            "DISABLED" => return Err(error::TEMPLATE_DISABLED),
            _ => return Err(error::UNKNOWN_TEMPLATE),
        }
        parameters(&template.draft.components, content)?;
        Ok(Some(template.draft.category.clone()))
    }
}

/// The templates of a business account, by pages.
pub(super) fn list(desk: &Arc<Desk>, call: &Call) -> Answered {
    known(desk, &call.id)?;
    let limit =
        call.query.get("limit").map_or(Ok(PAGE), |limit| {
            limit.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit)).ok_or_else(|| {
                GraphError::invalid(format!("limit is a number from 1 to {PAGE_MAX}."))
            })
        })?;
    let state = desk.state();
    let is_wanted = |template: &&Template| {
        let is = |key: &str, value: &str| call.query.get(key).is_none_or(|is| is == value);
        let draft = &template.draft;
        let part = |part: &String| draft.name.contains(part.as_str());
        call.query.get("name").is_none_or(part)
            && is("language", &draft.language)
            && is("category", &draft.category)
            && is("status", template.status)
    };
    let all: Vec<_> = state.templates.of(&call.id).filter(is_wanted).collect();
    // A cursor is the id of a page's first or last template.
    let cursor = |key: &str| call.query.get(key).and_then(|cursor| cursor.parse::<u64>().ok());
    let (from, to) = match (cursor("after"), cursor("before")) {
        (Some(after), _) => {
            let from = all.partition_point(|template| template.id <= after);
            (from, (from + limit).min(all.len()))
        }
        (None, Some(before)) => {
            let to = all.partition_point(|template| template.id < before);
            (to.saturating_sub(limit), to)
        }
        (None, None) => (0, limit.min(all.len())),
    };
    let page = &all[from..to];
    let nodes: Vec<_> =
        page.iter().map(|template| shown(template.node(), call.query.get("fields"))).collect();
    let mut answer = json!({"data": nodes});
    if let (Some(first), Some(last)) = (page.first(), page.last()) {
        let cursors = json!({"before": first.id.to_string(), "after": last.id.to_string()});
        answer["paging"] = json!({"cursors": cursors});
        if to < all.len() {
            answer["paging"]["next"] = json!(beside(call, "after", last.id));
        }
        if from > 0 {
            answer["paging"]["previous"] = json!(beside(call, "before", first.id));
        }
    }
    Ok(Reply::Json(answer))
}

/// The address of the page beside this one.
fn beside(call: &Call, key: &str, id: u64) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let others = call.query.iter().filter(|(name, _)| !matches!(name.as_str(), "after" | "before"));
    let query = query.extend_pairs(others).append_pair(key, &id.to_string()).finish();
    let path = call.path.split('?').next().unwrap_or_default();
    format!("{}{path}?{query}", call.base)
}

/// Makes one, which is then reviewed.
pub(super) fn create(desk: &Arc<Desk>, call: &Call) -> Answered {
    known(desk, &call.id)?;
    let draft = Draft::read(&call.json()?)?;
    let category = draft.category.clone();
    let id = {
        let now = desk.clock.passed();
        let templates = &mut desk.state().templates;
        if templates.find(&call.id, &draft.name, &draft.language).is_some() {
            let words = "There is a template with this name and language already.";
            return Err(GraphError::invalid(words).sub(2_388_024));
        }
        let name = (call.id.clone(), draft.name.clone());
        if templates.taken.get(&name).is_some_and(|until| *until > now) {
            let words = "A template with this name was deleted less than 30 days ago.";
            return Err(GraphError::invalid(words).sub(2_388_023));
        }
        if templates.of(&call.id).count() >= TEMPLATES {
            let words = format!("A business account has at most {TEMPLATES} templates.");
            return Err(GraphError::invalid(words).sub(2_388_019));
        }
        templates.add(&call.id, draft, "PENDING")
    };
    review::begin(desk, id);
    Ok(Reply::Json(json!({"id": id.to_string(), "status": "PENDING", "category": category})))
}

/// One template.
pub(super) fn get(desk: &Arc<Desk>, call: &Call) -> Answered {
    let state = desk.state();
    let template = call.id.parse().ok().and_then(|id: u64| state.templates.all.get(&id));
    let template = template.ok_or(error::UNKNOWN_OBJECT)?;
    Ok(Reply::Json(Value::Object(shown(template.node(), call.query.get("fields")))))
}

/// Changes one, which is then reviewed again.
pub(super) fn edit(desk: &Arc<Desk>, call: &Call) -> Answered {
    let body = call.json()?;
    let id: u64 = call.id.parse().map_err(|_| error::UNKNOWN_OBJECT)?;
    {
        let now = desk.clock.passed();
        let mut state = desk.state();
        let template = state.templates.all.get_mut(&id).ok_or(error::UNKNOWN_OBJECT)?;
        if !matches!(template.status, "APPROVED" | "REJECTED" | "PAUSED") {
            let words = "Only approved, rejected and paused templates can be changed.";
            return Err(GraphError::invalid(words).sub(2_388_025));
        }
        let draft = template.draft.changed(&body)?;
        if template.status == "APPROVED" {
            template.edits.retain(|at| *at + EDITS_TIME > now);
            let is_soon = template.edits.back().is_some_and(|at| *at + EDIT_PAUSE > now);
            if is_soon || template.edits.len() >= EDITS {
                let words = "An approved template is changed once a day, and ten times in 30 days.";
                return Err(GraphError::invalid(words).sub(2_388_026));
            }
            template.edits.push_back(now);
        }
        (template.draft, template.status) = (draft, "PENDING");
    }
    review::begin(desk, id);
    done()
}

/// Deletes all languages of a name, or with `hsm_id` one of them.
pub(super) fn delete(desk: &Arc<Desk>, call: &Call) -> Answered {
    known(desk, &call.id)?;
    let name = call.needed("name")?;
    let only = call.parameter("hsm_id");
    let now = desk.clock.passed();
    let templates = &mut desk.state().templates;
    let is_meant = |template: &&Template| {
        let is_it = only.as_ref().is_none_or(|id| *id == template.id.to_string());
        template.draft.name == name && is_it
    };
    let meant: Vec<_> = templates.of(&call.id).filter(is_meant).cloned().collect();
    if meant.is_empty() {
        return Err(GraphError::invalid("There is no such template.").sub(2_593_002));
    }
    if meant.iter().any(|template| template.status == "DISABLED") {
        return Err(GraphError::invalid("A disabled template cannot be deleted.").sub(2_388_027));
    }
    for template in meant {
        templates.all.remove(&template.id);
        if template.status == "APPROVED" {
            templates.taken.insert((call.id.clone(), name.clone()), now + NAME_TAKEN);
        }
    }
    done()
}

fn known(desk: &Desk, waba_id: &str) -> Result<(), GraphError> {
    if desk.knows_waba(waba_id) { Ok(()) } else { Err(error::UNKNOWN_OBJECT) }
}
