//! omnicast, the realtime node of a shop: it checks who each WebSocket client is, what its role
//! may see, and delivers each event to exactly the right ones.
//!
//! ```text
//!       services, operators                      browsers, apps, walls
//!               │ HTTP on a local socket                 │ WebSocket
//!        ┌──────▼──────┐                                 │
//!        │   control   │  one thread, the sequencer:     │
//!        │  publish    │  gives every event its place    │
//!        └──────┬──────┘                                 │
//!               │ events, once per shard; orders         │
//!      ┌────────┼─────────┐                              │
//!  ┌───▼───┐┌───▼───┐ ┌───▼───┐   each its own listener, │
//!  │shard 0││shard 1│…│shard n│   poll, slots, columns, ◀┘
//!  └───────┘└───────┘ └───────┘   deadlines, window
//! ```
//!
//! Rooms, in import order: a room uses only what is above it (`tests/tidy.rs` checks that).

// In import order, not in that of the alphabet: rustfmt leaves groups of one alone.
pub mod base;

pub mod policy;

pub mod wire;

pub mod conn;

pub mod shard;

pub mod journal;

pub mod publish;

pub mod control;

pub mod node;

pub mod cli;
