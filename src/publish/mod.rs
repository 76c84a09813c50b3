//! The one line on which events get their order: validated event in, envelope in every mailbox.
//!
//! ```text
//! drafts ─▶ room in every mailbox? ─▶ position ─▶ encode once ─▶ journal ─▶ every mailbox ─▶ wake
//!               │ no: refused,                                      │ cannot make it safe: taken
//!               ▼ nothing happened                                  ▼ back, nobody has seen it
//! ```
//!
//! One thread owns the [`sequencer::Sequencer`], so there is one order and no lock.

pub mod idempotency;
mod line;
pub mod presence;
pub mod sequencer;
