//! Tools that know nothing of WebSockets, shops or sockets.
//!
//! Everything here is a value or a bounded container. Nothing here reads a clock,
//! draws a random number or touches the world: time is always an argument.

pub mod deadlines;
pub mod masks;
pub mod permits;
pub mod slots;
pub mod time;
pub mod window;
