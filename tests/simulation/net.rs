//! The sockets of the simulation: bounded, sometimes short, sometimes broken.

use std::io::IoSlice;

use omnicast::shard::core::{Wires, Wrote};

use crate::rng::Rng;

pub struct Wire {
    /// Index of the client at the other end.
    pub client: usize,
    /// Unread bytes that it holds at most.
    pub capacity: usize,
    pub unread: usize,
    /// Takes less than it could, now and then.
    pub moody: bool,
    /// A write fell short: the node waits to hear that there is room.
    pub owes_edge: bool,
    pub broken: bool,
    pub shut: bool,
    /// Taken and not yet looked at by the oracle.
    pub fresh: Vec<u8>,
}

pub struct Net {
    pub wires: Vec<Option<Wire>>,
    /// Let go of by the node.
    pub dropped: Vec<Wire>,
    pub rng: Rng,
}

impl Net {
    pub fn put(&mut self, slot: u32, wire: Wire) {
        let slot = slot as usize;
        self.wires.resize_with(self.wires.len().max(slot + 1), || None);
        assert!(self.wires[slot].is_none(), "slot {slot} was given twice");
        self.wires[slot] = Some(wire);
    }

    pub fn at(&mut self, slot: u32) -> &mut Wire {
        self.wires[slot as usize].as_mut().expect("a client's slot has its wire")
    }
}

impl Wires for Net {
    fn write(&mut self, slot: u32, slices: &[IoSlice<'_>]) -> Wrote {
        let wire = self.wires[slot as usize].as_mut().expect("nothing is written to a dropped socket");
        assert!(!wire.shut, "nothing is written after the shutdown");
        if wire.broken {
            return Wrote::Broken;
        }
        let offered: usize = slices.iter().map(|s| s.len()).sum();
        assert!(offered > 0, "an empty write");
        let mut room = offered.min(wire.capacity - wire.unread);
        if wire.moody && self.rng.percent(30) {
            room = self.rng.below(room + 1);
        }
        let mut left = room;
        for slice in slices {
            let n = left.min(slice.len());
            wire.fresh.extend_from_slice(&slice[..n]);
            left -= n;
        }
        wire.unread += room;
        wire.owes_edge |= room < offered;
        Wrote::Bytes(room)
    }

    fn shut(&mut self, slot: u32) {
        let wire = self.wires[slot as usize].as_mut().expect("a dropped socket is not shut down");
        assert!(!std::mem::replace(&mut wire.shut, true), "shut down twice");
    }

    fn drop(&mut self, slot: u32, _abort: bool) {
        let wire = self.wires[slot as usize].take().expect("a socket is dropped once");
        self.dropped.push(wire);
    }
}
