//! Texts that are ready to be sent.

use engine::permission::Permission;
use engine::quick_reply::QuickReply;
use engine::resource::Row;
use serde_json::json;

use super::{Access, Route};
use crate::crud;

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::QuickRepliesManage);
    let (all, one) = ("/api/quick-replies", "/api/quick-replies/{id}");
    let example = json!({"title": "Hours", "text": "We are here from nine to five."});
    vec![
        crud::list::<Row<QuickReply>>(all, Access::Member, "List all quick replies"),
        crud::create::<QuickReply>(all, manage, "Create a quick reply", example.clone()),
        crud::update::<QuickReply>(one, manage, "Update a quick reply", example),
        crud::delete::<QuickReply>(one, manage, "Delete a quick reply"),
    ]
}
