//! A small generator of random numbers (SplitMix64): the same seed is the same run, everywhere.
//! Instead of a seed, a tape of bytes can lead a run, choice by choice, so that a fuzzer can.

use std::collections::VecDeque;

/// Where a run's choices come from.
pub struct Rng {
    state: u64,
    /// What is left of the tape.
    tape: VecDeque<u8>,
}

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng::led_by(seed, &[])
    }

    /// One byte of the tape for each choice, then the seed's.
    pub fn led_by(seed: u64, tape: &[u8]) -> Rng {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
        Rng { state, tape: tape.iter().copied().collect() }
    }

    /// Whether the tape is at its end.
    #[allow(dead_code, reason = "a run by seed has no tape")]
    pub fn is_over(&self) -> bool {
        self.tape.is_empty()
    }

    pub fn next(&mut self) -> u64 {
        // A byte is spread over the whole range, so that it can choose among any number.
        if let Some(byte) = self.tape.pop_front() {
            self.state = u64::from(byte);
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Within both ends.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// One to `max` distinct members of `from`.
    pub fn some_of(&mut self, from: &[&'static str], max: usize) -> Vec<&'static str> {
        let mut all = from.to_vec();
        let n = 1 + self.below(max);
        while all.len() > n {
            let at = self.below(all.len());
            all.swap_remove(at);
        }
        all
    }

    /// An index into `weights`, each as likely as its weight.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.next() % weights.iter().sum::<u64>();
        for (i, weight) in weights.iter().enumerate() {
            if at < *weight {
                return i;
            }
            at -= weight;
        }
        unreachable!("the sum bounds it")
    }
}
