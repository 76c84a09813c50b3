//! Operations on the shard core: the world of the simulation, its choices led by the input, its
//! oracle looking on.

use crate::rng::Rng;
use crate::world::World;

/// Steps of one run at most: what comes later in an input is not looked at.
const STEPS_MAX: usize = 300;

pub fn run(data: &[u8]) {
    let mut world = World::new(Rng::led_by(1, data));
    for _ in 0..STEPS_MAX {
        if world.rng.is_over() {
            break;
        }
        world.step();
    }
    world.finish();
}
