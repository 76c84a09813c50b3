//! The log on disk against what it is for: nodes that are killed, disks that are full, files that are broken.
//!
//! `OMNICAST_CRASH_ROUNDS`, `OMNICAST_CRASH_SEED` and `OMNICAST_CRASH_SYNC` (`always`, `interval`, `never`; half and half
//! without it) choose the run of `rounds`. The long one is
//! `OMNICAST_CRASH_ROUNDS=200 cargo test --release --test crash -- --nocapture rounds`.

#[path = "../simulation/rng.rs"]
mod rng;
#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod check;
mod damage;
mod full;
mod load;
mod poster;
mod restart;
mod rounds;
mod site;
mod stage;
mod watcher;
mod wire;
