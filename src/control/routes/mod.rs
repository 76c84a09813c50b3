//! One file per endpoint: what it reads, what it answers.

pub mod connections;
pub mod drain;
pub mod events;
pub mod health;
pub mod history;
pub mod info;
pub mod kick;
pub mod stats;
