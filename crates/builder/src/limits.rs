//! What settings allow a builder to use before it is ended.

use std::time::Duration;

use sandbox::{Allowance, Cgroups, Limits, Overrun};
use settings::{Settings, UseCgroups};

/// What a build may use of the machine; zero in a setting is no limit.
pub(crate) fn limits(settings: &Settings) -> Limits {
    let limited = |limit: usize| (limit > 0).then_some(limit as u64);
    Limits {
        cgroups: match settings.use_cgroups {
            UseCgroups::Auto => Cgroups::Auto,
            UseCgroups::Always => Cgroups::Always,
            UseCgroups::Never => Cgroups::Never,
        },
        memory: limited(settings.max_build_memory),
        pids: limited(settings.max_build_pids),
        cpu_weight: settings.build_cpu_weight.get(),
    }
}

/// What a builder may use; zero in a setting is no limit.
pub(crate) fn allowance(settings: &Settings) -> Allowance {
    let limited = |limit: usize| (limit > 0).then_some(limit as u64);
    Allowance {
        time: limited(settings.timeout).map(Duration::from_secs),
        silence: limited(settings.max_silent_time).map(Duration::from_secs),
        output_bytes: limited(settings.max_build_log_size),
    }
}

/// How much of it there was.
pub(crate) fn limit(overrun: Overrun, settings: &Settings) -> usize {
    match overrun {
        Overrun::Time => settings.timeout,
        Overrun::Silence => settings.max_silent_time,
        Overrun::Output => settings.max_build_log_size,
    }
}
