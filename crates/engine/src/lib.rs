//! Realises goals: schedule, builder and worker threads. Floor 4.
