//! HTTP for backend services and operators, on a local socket.
//!
//! ```text
//! bytes ─▶ http::Client ─▶ router ─▶ one route ─▶ answered at once
//!                                        └─▶ question to every shard ─▶ answered when all have spoken
//! ```
//!
//! One thread serves it and owns the sequencer, so a post is validated, ordered and passed on
//! without meeting a lock. [`reactor`] is the only file that touches its sockets.

pub mod http;
pub mod metrics;
pub mod past;
pub mod questions;
pub mod reactor;
pub mod router;
pub mod routes;
