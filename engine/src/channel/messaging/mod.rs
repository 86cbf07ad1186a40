//! What Messenger and Instagram share: entries of events between a business and one person each, in
//! one form (Messenger Platform, "Webhook events").

mod content;
mod encode;
mod entry;
mod event;
mod introduction;
mod limits;
mod media;
mod menu;
mod outcome;
mod people;
mod profile;

pub use encode::{Speaker, account, message, read_marks, subscription};
pub use entry::{Entry, met, open, reopen};
pub use introduction::{Introduction, KEPT_BYTES_MAX};
pub use limits::{check, check_reaction};
pub use media::{is_of_medium, relocate, relocated, upload};
pub use menu::{Menu, MenuItem, check_menus, menus, read_menus, set_menus};
pub use outcome::{known, outcome};
pub use profile::{profile, profiled};
