//! What the product means: types, rules, state machines. Pure: no async, no clock, no randomness,
//! no I/O; what a rule needs arrives as an argument.
//!
//! Reading order: [`id`], [`time`], [`message`], [`fact`], [`conversation`], [`channel`]; then
//! [`contact`], [`consent`], [`account`], [`integration`], [`registration`], [`news`], [`identity`], [`permission`], [`media`], [`lending`], [`text`], [`resource`], [`quick_reply`], [`activity`];
//! [`words`], [`search`].

pub mod account;
pub mod activity;
pub mod channel;
pub mod consent;
pub mod contact;
pub mod conversation;
pub mod fact;
pub mod id;
pub mod identity;
pub mod integration;
pub mod lending;
pub mod media;
pub mod message;
pub mod mint;
pub mod news;
pub mod permission;
pub mod phone;
pub mod quick_reply;
pub mod registration;
pub mod resource;
pub mod saying;
pub mod search;
pub mod tenant;
pub mod text;
pub mod time;
pub mod words;
