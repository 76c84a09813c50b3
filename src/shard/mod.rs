//! Many clients, one thread.
//!
//! [`core::Core`] decides and never touches the world; [`reactor`] moves bytes and never
//! decides. Events and orders come in through the shard's [`mailbox`]; what the shard has for
//! the node's sequencer leaves as [`mail::Report`]s. Shards never speak to shards.
//!
//! ```text
//!   sequencer ──events, orders──▶ mailbox ─┐         ┌─ sockets ◀──▶ clients
//!       ▲                                  ▼         ▼
//!       └────────── reports ◀────────── Core ◀──▶ reactor
//! ```

pub mod admission;
pub mod archive;
pub mod census;
pub mod clock;
pub mod columns;
pub mod core;
pub mod counters;
mod cursors;
mod deadlines;
mod deliver;
pub mod envelope;
pub mod index;
pub mod mail;
pub mod mailbox;
pub mod orders;
pub mod press;
pub mod reactor;
mod sockets;
pub mod sweep;
pub mod tls;
