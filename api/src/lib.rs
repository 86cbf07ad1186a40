//! The edge: routes, guards, the document, and how a server starts and stops.

pub mod activity;
pub mod answers;
pub mod app;
pub mod cli;
pub mod connect;
pub mod crud;
pub mod demo;
pub mod edge;
pub mod error;
pub mod extract;
#[cfg(debug_assertions)]
mod fault;
pub mod fields;
mod files;
pub mod form;
pub mod guard;
pub mod holders;
pub mod lasting;
mod linger;
pub mod listener;
pub mod login_limits;
pub mod mail_files;
pub mod naming;
pub mod openapi;
pub mod password;
pub mod places;
pub mod rate;
pub mod request_id;
pub mod resend;
pub mod routes;
pub mod scrape;
pub mod server;
pub mod socket;
pub mod states;
pub mod token;
pub mod told;
pub mod unproven;
