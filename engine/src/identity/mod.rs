//! People at the desk: agents, their roles and their logins.

pub mod agent;
pub mod api_key;
pub mod role;
pub mod session;
