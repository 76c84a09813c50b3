//! When to come back after a connection ended, and when not to.

use crate::cli::tail::session::Closing;

/// First step of the backoff.
const FIRST_BACKOFF_MS: u64 = 500;
/// Its longest step.
const MAX_BACKOFF_MS: u64 = 30_000;
/// Jitter on top of a moment that the node named, and of "at once": clients must not come back in step.
const JITTER_MS: u64 = 250;
/// Doublings after which the longest step is reached for sure.
const MAX_DOUBLINGS: u32 = 16;

/// What follows an ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Come back after so many ms.
    Again(u64),
    /// Do not.
    Stop,
}

/// Decides by what the node announced, else by the range of its close code (40xx: do not come back, 42xx: at once), else
/// backs off. `attempt` counts the tries since the last one that worked, `random` is any number, `fixed_token` says that
/// no fresh credential can be had.
#[must_use]
pub fn after(ending: &Closing, attempt: u32, random: u64, fixed_token: bool) -> Next {
    let code = ending.code.unwrap_or(0);
    let told_to_stop = !ending.retry.unwrap_or(!(4000..4100).contains(&code));
    if told_to_stop || (code == 4101 && fixed_token) {
        return Next::Stop;
    }
    let wait = match ending.retry_after_ms {
        Some(named) if named > 0 => named.saturating_add(random % JITTER_MS),
        _ if (4200..4300).contains(&code) && attempt == 0 => random % JITTER_MS,
        _ => {
            let ceiling = (FIRST_BACKOFF_MS << attempt.min(MAX_DOUBLINGS)).min(MAX_BACKOFF_MS);
            random % ceiling + 1
        }
    };
    Next::Again(wait)
}

/// The ending of an upgrade that was refused with this status: busy and overloaded nodes are worth another try.
#[must_use]
pub fn refused_upgrade(status: u16, retry_after_s: Option<u64>) -> Closing {
    Closing {
        code: None,
        reason: format!("the node refused the upgrade with status {status}"),
        retry: Some(matches!(status, 408 | 429) || status >= 500),
        retry_after_ms: retry_after_s.map(|s| s.saturating_mul(1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(code: u16, retry: Option<bool>, retry_after_ms: Option<u64>) -> Closing {
        Closing { code: Some(code), reason: String::new(), retry, retry_after_ms }
    }

    #[test]
    fn codes_mean_what_the_contract_says() {
        let table = [
            (ending(4002, None, None), false, false),
            (ending(4004, Some(false), None), false, false),
            (ending(4101, Some(true), None), false, true),
            (ending(4101, Some(true), None), true, false),
            (ending(4103, None, None), true, true),
            (ending(4201, None, None), true, true),
            (ending(1001, Some(true), Some(70)), true, true),
            (ending(1002, Some(false), None), false, false),
            (Closing::default(), false, true),
            (refused_upgrade(403, None), false, false),
            (refused_upgrade(429, Some(3)), false, true),
            (refused_upgrade(503, None), false, true),
        ];
        for (ending, fixed_token, again) in table {
            assert_eq!(after(&ending, 0, 9, fixed_token) != Next::Stop, again, "{ending:?}");
        }
    }

    #[test]
    fn waits_lie_where_they_should() {
        for random in [0, 1, 249, 12_345_678_901, u64::MAX] {
            for attempt in [0, 1, 3, 10, u32::MAX] {
                let wait = |ending: &Closing| match after(ending, attempt, random, false) {
                    Next::Again(wait) => wait,
                    Next::Stop => panic!("a retry is due"),
                };
                let ceiling = 500u64.saturating_mul(1 << attempt.min(20)).min(30_000);
                assert!((1..=ceiling).contains(&wait(&Closing::default())));
                assert!((4000..4250).contains(&wait(&ending(1001, Some(true), Some(4000)))));
                assert!(
                    wait(&ending(4201, Some(true), Some(0))) < if attempt == 0 { 250 } else { ceiling + 1 }
                );
                assert!((3000..3250).contains(&wait(&refused_upgrade(503, Some(3)))));
            }
        }
    }
}
