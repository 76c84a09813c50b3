//! The public listener and the protocol over real sockets: one node a test, in its own process.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod browser;
mod commands;
mod compression;
mod endings;
mod frames;
mod http;
mod identity;
mod limits;
mod origins;
mod presence;
mod publish;
mod resets;
mod session;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
mod window;
