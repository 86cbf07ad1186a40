//! The ractor shell: ordering, timers, fan-out, providers. What is decided is decided in `engine`.

pub mod ages;
pub mod clock;
pub mod committed;
pub mod contact;
pub mod desk;
pub mod effects;
pub mod failure;
pub mod feed;
pub mod identity;
pub mod inbox;
pub mod ingress;
pub mod letters;
pub mod outbox;
pub mod panics;
pub mod parking;
pub mod permits;
pub mod provider;
pub mod reply;
pub mod shard;
mod slots;
pub mod sweep;
pub mod tenants;
pub mod thread;
pub mod turns;
mod typing;
pub mod waiting;
pub mod world;
