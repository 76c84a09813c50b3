//! Who is who, who sees what, and what an event looks like.
//!
//! The policy is data: a file that is read once at start and compiled to bit masks and
//! tables ([`Policy`]). From it follow the three decisions of this room:
//!
//! ```text
//! event as posted ──▶ draft_posted ──▶ Draft { Audience, data } ─┐
//! auth message ─────▶ Gate::check ───▶ Identity ──▶ Viewer ──────┴▶ Audience::admits
//! ```
//!
//! Nothing here reads a clock, draws a random number or touches the world. Invariants:
//! [`Audience::admits`] is the only predicate that decides whether an event reaches a
//! connection; nothing that was named in an event and not understood widens its audience.

pub mod audience;
mod base64url;
pub mod compiled;
pub mod credential;
pub mod draft;
pub mod identity;
mod json;
pub mod keys;
pub mod names;
mod payload;
pub mod schema;
mod source;
mod table;

pub use audience::{Audience, HoldsKey, Reach, Verdict, Viewer, ViewerClass};
pub use compiled::{Policy, PolicyError, Presence};
pub use credential::{Claims, Gate, mint_hs256};
pub use draft::{Draft, PublishError, Rules, Violation, ViolationCode};
pub use identity::{AuthFault, Identity};
pub use keys::KeySet;
pub use names::{EventType, Namespace, Role};
pub use schema::{Field, Kind};
