//! The ractor shell: ordering, timers, fan-out, providers. What is decided is decided in `engine`.

pub mod clock;
pub mod committed;
pub mod contact;
pub mod desk;
pub mod failure;
pub mod identity;
pub mod ingress;
pub mod permits;
pub mod shard;
mod slots;
pub mod sweep;
pub mod tenants;
pub mod thread;
pub mod world;
