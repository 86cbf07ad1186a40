//! What the log says of one request, and what it never says.

#[cfg(test)]
mod request;
