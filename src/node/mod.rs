//! One node as a whole: its settings, its start and its end.
//!
//! The only room that puts the others together; nothing to its left may know of it.

pub mod assemble;
pub mod descriptors;
pub mod journal;
pub mod listen;
pub mod logging;
pub mod settings;
pub mod start;
pub mod tls;
