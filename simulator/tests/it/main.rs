//! The simulator over real sockets.

#[cfg(test)]
mod account;
#[cfg(test)]
mod cassandra;
#[cfg(test)]
mod control;
#[cfg(test)]
mod customers;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod graph;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod media;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod messaging;
#[cfg(test)]
mod people;
#[cfg(test)]
mod phone_app;
#[cfg(test)]
mod program;
#[cfg(test)]
mod stand;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod wire;
