//! Load over real sockets.

#[cfg(test)]
mod desk;
#[cfg(test)]
mod files;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod interrupted;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod webhooks;
