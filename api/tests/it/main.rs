//! The API over real sockets: a server on its own directory, the simulator as its provider.

#[cfg(test)]
mod access;
#[cfg(test)]
mod account_health;
#[cfg(test)]
mod accounts;
#[cfg(test)]
mod activity_logs;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod api_keys;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod caller;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod connecting;
#[cfg(test)]
mod contacts;
#[cfg(test)]
mod conversations;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod files;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod held;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod inbound;
#[cfg(test)]
mod integrations;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod kept_pages;
#[cfg(test)]
mod live;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod mail_files;
#[cfg(test)]
mod mail_out;
#[cfg(test)]
mod mail_threads;
#[cfg(test)]
mod media;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod page_files;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod persistent_menu;
#[cfg(test)]
mod places;
#[cfg(test)]
mod profiles;
#[cfg(test)]
mod provider;
#[cfg(test)]
mod quick_replies;
#[cfg(test)]
mod random;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod renewals;
#[cfg(test)]
mod resend;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod search;
#[cfg(test)]
mod sight;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod store;
#[cfg(test)]
mod storms;
#[cfg(test)]
mod together;
#[cfg(test)]
mod variants;
#[cfg(test)]
mod webhooks;
