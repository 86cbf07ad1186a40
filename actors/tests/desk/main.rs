//! The desk over the memory store, and in part over the others: what is acknowledged is there once,
//! in order, for one customer in one conversation.

#[cfg(test)]
mod amendments;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod beside;
#[cfg(test)]
mod costs;
#[cfg(test)]
mod deluge;
#[cfg(test)]
mod earlier;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod familiar;
#[cfg(test)]
mod fetcher;
#[cfg(test)]
mod first;
#[cfg(test)]
mod history;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod late;
#[cfg(test)]
mod left_behind;
#[cfg(test)]
mod links;
#[cfg(test)]
mod looked_through;
#[cfg(test)]
mod loose;
#[cfg(test)]
mod mail_servers;
#[cfg(test)]
mod mails;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod persons;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod profiles;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod retried;
mod roomless;
#[cfg(test)]
mod search;
#[cfg(test)]
mod sends;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod stops;
#[cfg(test)]
mod topics;
#[cfg(test)]
mod unions;
