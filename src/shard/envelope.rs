//! An event on its way: what it is, where it stands in the one order, who may see it, and its
//! bytes. Built once per node and shared by everything that keeps or sends it.

use bytes::Bytes;

use crate::policy::{Audience, EventType};

/// An event with its place in the order.
#[derive(Debug)]
pub struct Envelope {
    /// Place in the one order of this epoch; the first event has 1.
    pub position: u64,
    /// What it is.
    pub event: EventType,
    /// Who may see it.
    pub audience: Audience,
    /// The whole WebSocket frame: header and JSON text.
    pub frame: Bytes,
}
