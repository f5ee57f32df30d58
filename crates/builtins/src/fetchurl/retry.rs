//! How long to wait before a download is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The shortest wait after the first try; each further one doubles it.
const BASE_MILLIS: f64 = 250.0;

/// What a server may ask for.
const MOST_SECS: u64 = 60;

/// The wait after that many tries: longer each time, and not the same for all who have failed at the same moment.
pub(crate) fn wait(tries: u32, retry_after_secs: Option<u64>) -> Duration {
    jittered(tries, random()).max(Duration::from_secs(retry_after_secs.unwrap_or_default().min(MOST_SECS)))
}

fn jittered(tries: u32, random: f64) -> Duration {
    let millis = BASE_MILLIS * (f64::from(tries.clamp(1, 9)) - 1.0 + random).exp2();
    Duration::from_millis(millis as u64)
}

/// From 0 to 1. The keys of hash maps are random.
fn random() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_longer_than_the_one_before() {
        for tries in 1..8 {
            assert!(jittered(tries, 1.0) <= jittered(tries + 1, 0.0));
            assert!(jittered(tries, 0.0) < jittered(tries, 0.9));
        }
        assert_eq!(jittered(1, 0.0), Duration::from_millis(250));
        assert_eq!(jittered(4, 1.0), Duration::from_millis(4000));
        assert_eq!(wait(1, Some(20)), Duration::from_secs(20));
        assert_eq!(wait(1, Some(1 << 40)), Duration::from_secs(MOST_SECS));
    }
}
