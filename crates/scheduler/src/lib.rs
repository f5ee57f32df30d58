//! Which goal may run next. Floor 1, pure.
