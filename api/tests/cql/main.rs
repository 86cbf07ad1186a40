//! The real server over a real server that speaks CQL, which all tests here share: what it answers is
//! what it answers over the other backends.

#[cfg(test)]
#[path = "../it/caller.rs"]
#[expect(dead_code, reason = "shared with the tests of the edge, which use all of it")]
mod caller;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod equal;
#[cfg(test)]
#[path = "../it/harness.rs"]
#[expect(dead_code, reason = "shared with the tests of the edge, which use all of it")]
mod harness;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod world;
