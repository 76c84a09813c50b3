//! An event on its way: what it is, where it stands in the one order, who may see it, and its
//! bytes. Built once per node and shared by everything that keeps or sends it.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::policy::{Audience, EventType};
use crate::wire::envelope::payload_of;

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
    /// The same as a compressed message, made when the first shard asks for it; nothing where it would not
    /// be shorter. In a box: most events never have one.
    deflated: OnceLock<Option<Box<Bytes>>>,
}

impl Envelope {
    /// An event whose compressed form nobody has asked for.
    #[must_use]
    pub fn new(position: u64, event: EventType, audience: Audience, frame: Bytes) -> Envelope {
        Envelope { position, event, audience, frame, deflated: OnceLock::new() }
    }

    /// The frame of its compressed form, where that was made and is shorter.
    #[must_use]
    pub fn deflated(&self) -> Option<&Bytes> {
        self.deflated.get()?.as_deref()
    }

    /// The same; `make` makes it of the payload where nobody has. Of several shards that ask at once, one
    /// makes it and the others wait for that.
    pub fn deflated_by(&self, make: impl FnOnce(&[u8]) -> Option<Bytes>) -> Option<&Bytes> {
        self.deflated.get_or_init(|| make(payload_of(&self.frame)).map(Box::new)).as_deref()
    }
}
