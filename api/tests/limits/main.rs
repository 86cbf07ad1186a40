//! Each limit of the edge, reached on a real server over real sockets.

#[cfg(test)]
mod edge;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod small;
#[cfg(test)]
mod sockets;
