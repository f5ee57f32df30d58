//! What builds used over time: a bounded list of samples, however long a run takes.

use std::time::Duration;

/// The time between two looks in the beginning.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// With more samples than that, every two become one, and looks rarer: no screen shows more.
const MOST: usize = 1200;

/// What was used in the time up to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Duration,
    /// Time of processors since the sample before.
    pub(super) cpu_time: Duration,
    pub(super) memory_bytes: u64,
    pub(super) running: usize,
}

/// All samples.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) samples: Vec<Sample>,
    interval: Duration,
    /// What was used since the last sample, as far as that is known.
    used: Duration,
}

impl Default for Course {
    fn default() -> Self {
        Self { samples: Vec::new(), interval: INTERVAL, used: Duration::ZERO }
    }
}

impl Course {
    /// Whether it is time for another sample.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.samples.last().is_none_or(|last| now.saturating_sub(last.at) >= self.interval)
    }

    /// Counts time that processors had.
    pub(super) fn use_cpu(&mut self, time: Duration) {
        self.used += time;
    }

    /// Adds a sample.
    pub(super) fn add(&mut self, at: Duration, memory_bytes: u64, running: usize) {
        self.samples.push(Sample { at, cpu_time: self.used, memory_bytes, running });
        self.used = Duration::ZERO;
        if self.samples.len() > MOST {
            self.thin_out();
        }
    }

    fn thin_out(&mut self) {
        let join = |pair: &[Sample]| Sample {
            at: pair[pair.len() - 1].at,
            cpu_time: pair.iter().map(|sample| sample.cpu_time).sum(),
            memory_bytes: pair.iter().map(|sample| sample.memory_bytes).max().unwrap_or(0),
            running: pair.iter().map(|sample| sample.running).max().unwrap_or(0),
        };
        self.samples = self.samples.chunks(2).map(join).collect();
        self.interval *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_no_more_samples_and_loses_no_time_of_processors() {
        let mut course = Course::default();
        let mut now = Duration::ZERO;
        let second = Duration::from_secs(1);
        for tick in 0..100_000_u64 {
            now += INTERVAL;
            if course.is_due(now) {
                course.add(now, tick, 1);
            }
            course.use_cpu(second);
        }
        course.add(now, 7, 0);
        assert!(course.samples.len() <= MOST, "{}", course.samples.len());
        let used: Duration = course.samples.iter().map(|sample| sample.cpu_time).sum();
        assert_eq!(used, second * 100_000);
        assert!(course.samples.is_sorted_by_key(|sample| sample.at));
    }
}
