//! Load over real sockets.

#[cfg(test)]
mod webhooks;
