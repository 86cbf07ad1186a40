//! The simulator over real sockets.

#[cfg(test)]
mod customers;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod graph;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod stand;
