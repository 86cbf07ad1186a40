//! The edge: REST, sockets, commands.
