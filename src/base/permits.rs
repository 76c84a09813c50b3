//! The token bucket: how many permits a peer may spend, and how fast they come back.
//!
//! Kept as one number, the *theoretical arrival time* (the generic cell rate algorithm):
//! the moment at which the bucket will be full again. That is a token bucket of capacity
//! `burst` refilled one permit every `period / burst`, in eight bytes and without a timer.

/// What a bucket allows: `burst` permits at once, and `burst` per `period_ms` in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Permits in a full bucket. At least 1.
    pub burst: u32,
    /// Milliseconds in which an empty bucket fills. At least 1.
    pub period_ms: u32,
}

impl Rate {
    /// `burst` permits a minute.
    #[must_use]
    pub fn per_minute(burst: u32) -> Rate {
        Rate { burst, period_ms: 60_000 }
    }
}

/// One peer's bucket. Starts full.
///
/// Times are in units of `1 / burst` of a millisecond, so that a permit costs exactly
/// `period_ms` units and nothing is ever rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: u64,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Milliseconds until one permit is there, rounded up; at least 1.
    pub retry_after_ms: u64,
}

impl Bucket {
    /// Takes one permit at `now_ms` (monotonic milliseconds).
    ///
    /// # Errors
    /// [`Refused`] when the bucket is empty. A refusal costs nothing.
    pub fn try_take(&mut self, rate: Rate, now_ms: u64) -> Result<(), Refused> {
        let scale = u64::from(rate.burst);
        let cost = u64::from(rate.period_ms);
        let capacity = cost * scale;
        let now = now_ms.saturating_mul(scale);
        let full_at = self.full_at.max(now).saturating_add(cost);
        let ahead = full_at - now;
        if ahead > capacity {
            let retry_after_ms = (ahead - capacity).div_ceil(scale).max(1);
            return Err(Refused { retry_after_ms });
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Whether the bucket is full at `now_ms`, so that forgetting it loses nothing.
    #[must_use]
    pub fn is_full(&self, rate: Rate, now_ms: u64) -> bool {
        self.full_at <= now_ms.saturating_mul(u64::from(rate.burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn burst_then_sustained() {
        let rate = Rate::per_minute(100);
        let mut b = Bucket::default();
        assert_eq!((0..200).filter(|_| b.try_take(rate, 5).is_ok()).count(), 100);
        assert_eq!(b.try_take(rate, 5), Err(Refused { retry_after_ms: 600 }));
        assert!(b.try_take(rate, 604).is_err());
        assert!(b.try_take(rate, 605).is_ok());
        // An hour of one attempt every 10 ms passes one permit per 600 ms.
        let passed = (605..3_600_605).step_by(10).filter(|&t| b.try_take(rate, t).is_ok()).count();
        assert_eq!(passed, 5_999);
    }

    proptest! {
        /// Against the textbook: a counter of fractional tokens, kept as a rational.
        #[test]
        fn equals_a_rational_token_counter(
            burst in 1u32..50, period in 1u32..10_000,
            gaps in proptest::collection::vec(0u64..500, 1..200),
        ) {
            let rate = Rate { burst, period_ms: period };
            let mut bucket = Bucket::default();
            // Tokens times `period`: one millisecond adds `burst`, one permit costs `period`.
            let full = u64::from(burst) * u64::from(period);
            let (mut level, mut now) = (full, 0u64);
            for gap in gaps {
                now += gap;
                level = (level + gap * u64::from(burst)).min(full);
                let expected = level >= u64::from(period);
                if expected { level -= u64::from(period) }
                let got = bucket.try_take(rate, now);
                prop_assert_eq!(got.is_ok(), expected);
                if let Err(r) = got {
                    let missing = u64::from(period) - level;
                    prop_assert_eq!(r.retry_after_ms, missing.div_ceil(u64::from(burst)));
                }
                prop_assert_eq!(bucket.is_full(rate, now), level == full);
            }
        }
    }
}
