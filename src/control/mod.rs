//! HTTP for backend services and operators, on a local socket.
//!
//! ```text
//! bytes ─▶ http::Client ─▶ router ─▶ one route ─▶ answered at once
//!                                        └─▶ question to every shard ─▶ answered when all have spoken
//! ```
//!
//! One thread serves it and owns the sequencer, so a post is validated, ordered and passed on
//! without meeting a lock. Only [`reactor`] and [`peer`] touch its sockets.

pub mod http;
pub mod metrics;
pub mod past;
pub mod peer;
pub mod questions;
pub mod reactor;
pub mod router;
pub mod routes;
