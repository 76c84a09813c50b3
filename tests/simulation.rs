//! The seeded simulation of a shard: its core, driven as the reactor drives it, against clients
//! that speak the protocol through bytes, sockets that are short, slow or broken, a clock that
//! jumps, and an oracle that knows only the wire contract.
//!
//! `OMNICAST_SIM_SEED` replays one seed; `OMNICAST_SIM_SEEDS` and `OMNICAST_SIM_STEPS` set how many
//! and how long.

#[path = "simulation/actions.rs"]
mod actions;
#[path = "simulation/checks.rs"]
mod checks;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/frames.rs"]
mod frames;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/net.rs"]
mod net;
#[path = "simulation/obey.rs"]
mod obey;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/reader.rs"]
mod reader;
#[path = "simulation/rng.rs"]
mod rng;
#[path = "simulation/saga.rs"]
mod saga;
#[path = "simulation/stream.rs"]
mod stream;
#[path = "simulation/world.rs"]
mod world;

use checks::Outcome;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const SEEDS: u64 = 32;
const STEPS: u64 = 250;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}

fn run(seed: u64, steps: u64) -> Outcome {
    let mut world = world::World::new(rng::Rng::new(seed));
    for _ in 0..steps {
        world.step();
    }
    world.finish()
}

#[test]
fn a_shard_keeps_its_promises_whatever_happens() {
    let steps = setting("OMNICAST_SIM_STEPS").unwrap_or(STEPS);
    let seeds = match setting("OMNICAST_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + setting("OMNICAST_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let is_whole = seeds.end - seeds.start >= SEEDS && steps >= STEPS;
    let mut all = Outcome::default();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed, steps))) {
            Ok(outcome) => all.add(outcome),
            Err(panic) => {
                eprintln!(
                    "seed {seed} fails; again: \
                     OMNICAST_SIM_SEED={seed} OMNICAST_SIM_STEPS={steps} cargo test --test simulation"
                );
                resume_unwind(panic);
            }
        }
    }
    println!(
        "{} clients got {} events, {} of them in sagas, {} from beyond the window; {} found nothing there",
        all.clients, all.events, all.saga_events, all.old_events, all.overrun
    );
    println!("{:#?}", all.reached);
    assert!(all.events > 0 && all.clients > 0, "a run in which nothing happens proves nothing");
    if is_whole {
        assert!(all.saga_events > 0 && all.old_events > 0 && all.overrun > 0, "nor does one without a past");
        for path in reader::PATHS {
            assert!(all.reached.contains_key(path), "never reached: {path}");
        }
    }
}
