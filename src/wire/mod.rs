//! Bytes to values and back: HTTP heads, the upgrade, frames, messages, commands, replies, events.
//!
//! Nothing here owns a socket or knows the time. What a peer sends is either understood or refused
//! by a value that names the fault; it never panics, and the work is linear in the bytes.
//!
//! ```text
//! bytes -> head -> upgrade, origin, extension    (before the 101)
//! bytes -> frame -> message, deflate -> command  (after it, client to node)
//! reply, envelope -> deflate? -> frame -> bytes  (node to client)
//! bytes -> head -> chunked; response -> bytes    (control listener)
//! ```

pub mod chunked;
pub mod command;
pub mod deflate;
pub mod envelope;
pub mod extension;
pub mod frame;
pub mod head;
pub mod json;
pub mod mask;
pub mod message;
pub mod origin;
pub mod reply;
pub mod response;
pub mod upgrade;
