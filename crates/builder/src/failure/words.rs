//! How a failure says what it holds.

use sandbox::{ExitStatus, Overrun};

/// What was said, below a sentence.
pub(super) fn lines(said: &[String]) -> String {
    said.iter().map(|line| format!("\n  {line}")).collect()
}

pub(super) fn mebibytes(bytes: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    if bytes.is_multiple_of(MEBIBYTE) {
        format!("{} MiB", bytes / MEBIBYTE)
    } else {
        format!("{:.1} MiB", bytes as f64 / MEBIBYTE as f64)
    }
}

pub(super) fn overran(overrun: Overrun, limit: usize) -> String {
    let seconds = |count| format!("{count} {}", if count == 1 { "second" } else { "seconds" });
    match overrun {
        Overrun::Time => format!("it ran for more than {} (setting `timeout`)", seconds(limit)),
        Overrun::Silence => {
            format!("it printed nothing for {} (setting `max-silent-time`)", seconds(limit))
        }
        Overrun::Output => format!("it printed more than {limit} bytes (setting `max-build-log-size`)"),
    }
}

pub(super) fn told(status: ExitStatus) -> String {
    match status {
        ExitStatus::Overran(_) | ExitStatus::GivenUp => "it was ended".to_owned(),
        ExitStatus::Code(code) => format!("it returned {code}"),
        ExitStatus::Signal(signal) => match signal_name(signal) {
            Some(name) => format!("it was killed by signal {signal} ({name})"),
            None => format!("it was killed by signal {signal}"),
        },
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    nix::sys::signal::Signal::try_from(signal).ok().map(nix::sys::signal::Signal::as_str)
}
