//! The ractor shell: ordering, timers, fan-out, providers. What is decided is decided in `engine`.

pub mod clock;
pub mod committed;
