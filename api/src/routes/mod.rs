//! The table of all routes: it alone feeds the router, the guard, the document and the tests.

pub mod account_health;
pub mod accounts;
pub mod activity_logs;
pub mod agents;
pub mod api_keys;
pub mod auth;
pub mod contacts;
pub mod conversations;
pub mod dead_letters;
pub mod health;
pub mod integrations;
pub mod lent;
pub mod logins;
pub mod mail;
pub mod media;
pub mod messages;
pub mod pages;
pub mod persistent_menu;
pub mod quick_replies;
pub mod roles;
pub mod search;
pub mod webhooks;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Router, middleware};
use engine::permission::Permission;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::app::App;
use crate::error::ApiError;
use crate::{extract, guard, lasting, socket};

/// Makes the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One operation.
pub struct Route {
    pub verb: Method,
    /// As in the document: ids in braces.
    pub path: &'static str,
    pub tag: &'static str,
    pub title: &'static str,
    pub access: Access,
    pub query: Option<SchemaOf>,
    pub body: Option<SchemaOf>,
    /// A body that is valid, for the document and the tests.
    pub example: Option<serde_json::Value>,
    /// A form with a file, instead of a body of JSON.
    pub form: Option<SchemaOf>,
    pub status: u16,
    /// `None`: not JSON.
    pub answer: Option<SchemaOf>,
    /// It answers with a file.
    pub file: bool,
    /// It asks a provider, and goes on when nobody waits for it any more.
    pub lasts: bool,
    handler: MethodRouter<App>,
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Whoever is logged in, in person.
    Session,
    /// Any agent of the tenant, or an API key of one.
    Member,
    /// Agents whose role allows this, or an API key that does.
    Permission(Permission),
    /// Meta, with its verify token.
    VerifyToken,
    /// Meta, with its signature.
    Signature,
    /// A provider of mails, with the proof that it has; its fields are its own.
    EmailSignature,
}

/// Begins a row of the table.
pub fn route<T: 'static>(
    verb: Method,
    path: &'static str,
    access: Access,
    title: &'static str,
    handler: impl Handler<T, App>,
) -> Route {
    let filter = MethodFilter::try_from(verb.clone()).unwrap_or(MethodFilter::GET);
    let handler = on(filter, handler);
    let (query, body, example, form) = (None, None, None, None);
    let (tag, status, answer, file, lasts) = ("", 200, None, false, false);
    Route {
        verb,
        path,
        tag,
        title,
        access,
        query,
        body,
        example,
        form,
        status,
        answer,
        file,
        lasts,
        handler,
    }
}

impl Route {
    /// Its query parameters are the properties of this type.
    pub fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(|generator| T::json_schema(generator)), ..self }
    }

    /// It takes this body; `example` is a valid one.
    pub fn body<T: JsonSchema>(self, example: serde_json::Value) -> Self {
        let body: SchemaOf = |generator| generator.subschema_for::<T>();
        Self { body: Some(body), example: Some(example), ..self }
    }

    /// It takes a form of these parts (`multipart/form-data`).
    pub fn form<T: JsonSchema>(self) -> Self {
        Self { form: Some(|generator| generator.subschema_for::<T>()), ..self }
    }

    /// It answers with the bytes of a file, or a part of them.
    pub fn answers_file(self) -> Self {
        Self { file: true, ..self }
    }

    /// It answers this with this status.
    pub fn answers<T: JsonSchema>(self, status: u16) -> Self {
        let answer: SchemaOf = |generator| generator.subschema_for::<T>();
        Self { status, answer: Some(answer), ..self }
    }

    /// It asks a provider, and goes on when nobody waits for it any more.
    pub fn lasts(self) -> Self {
        Self { lasts: true, ..self }
    }

    /// It answers by switching to a protocol of its own.
    pub fn upgrades(self) -> Self {
        Self { status: 101, ..self }
    }

    /// Under this tag of the document.
    pub fn tagged(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }
}

/// A tag and its rows.
type Family = (&'static str, fn() -> Vec<Route>);

/// All operations.
pub fn all() -> Vec<Route> {
    let families: [Family; _] = [
        ("Auth", auth::routes),
        ("Conversations", conversations::routes),
        ("Messages", messages::routes),
        ("Messages", search::routes),
        ("Media", media::routes),
        ("Contacts", contacts::routes),
        ("Agents", agents::routes),
        ("Roles", roles::routes),
        ("API Keys", api_keys::routes),
        ("Quick Replies", quick_replies::routes),
        ("Integrations", integrations::routes),
        ("Integrations", accounts::routes),
        ("Integrations", account_health::routes),
        ("Integrations", logins::routes),
        ("Integrations", pages::routes),
        ("Integrations", persistent_menu::routes),
        ("Activity Logs", activity_logs::routes),
        ("Webhooks", webhooks::routes),
        ("Webhooks", mail::routes),
        ("Health", health::routes),
        ("Operations", socket::routes),
        ("Operations", dead_letters::routes),
        ("Operations", lent::routes),
    ];
    let tagged = |(tag, routes): Family| {
        routes().into_iter().map(move |route| match route.tag {
            "" => route.tagged(tag),
            _ => route,
        })
    };
    families.into_iter().flat_map(tagged).collect()
}

/// The router of all operations, each behind its guard.
pub fn router(app: &App) -> Router<App> {
    let mut router = Router::new();
    for route in all() {
        let mut handler = route.handler;
        // The address that a provider calls is its user's to write.
        let is_provider_s = matches!(route.access, Access::Signature | Access::EmailSignature);
        if route.query.is_none() && !is_provider_s {
            handler = handler.layer(middleware::from_fn(extract::no_query));
        }
        if route.lasts {
            handler = handler.layer(middleware::from_fn_with_state(app.clone(), lasting::layer));
        }
        let is_guarded = match route.access {
            // What proves these is looked at where they are handled.
            Access::Public | Access::VerifyToken | Access::Signature | Access::EmailSignature => {
                false
            }
            Access::Session | Access::Member | Access::Permission(_) => true,
        };
        if is_guarded {
            let state = (app.clone(), route.access);
            handler = handler.layer(middleware::from_fn_with_state(state, guard::layer));
        }
        router = router.route(route.path, handler);
    }
    router.fallback(no_such_route).method_not_allowed_fallback(no_such_method)
}

async fn no_such_route() -> ApiError {
    let message = "no such route; see /docs for those there are";
    ApiError::new(axum::http::StatusCode::NOT_FOUND, "no_such_route", message)
}

async fn no_such_method() -> ApiError {
    let message = "this route does not take this method; see /docs";
    ApiError::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
