//! One client as a machine.
//!
//! A connection is born in [`phase::Phase::Opening`], lives in one slot of one shard and ends
//! for exactly one [`reason::Ending`]. Nothing here knows a socket, a clock or another
//! connection: bytes, time and the node's facts come in as arguments, replies go to the
//! [`outbox::Outbox`], and what concerns others comes out as [`machine::Changes`].
//!
//! ```text
//!            head complete            auth accepted
//!  Opening ───────────────▶ Greeting ───────────────▶ Live
//!     │  plain HTTP             │   a reason to end     │
//!     │ (Asking: statistics)    ▼                       │
//!     │                      Closing ◀──────────────────┘
//!     │ answered                │ the peer's close
//!     └───────────────────▶ Draining
//!                               │ flushed and read, end of stream, or deadline
//!                               ▼
//!                            retired (by the shard)
//! ```

mod commands;
pub mod config;
#[cfg(feature = "conformance")]
mod echo;
pub mod interest;
pub mod machine;
pub mod opening;
pub mod outbox;
pub mod phase;
pub mod reason;
pub mod resume;
