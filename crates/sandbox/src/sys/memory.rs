//! What the C library does with memory that is free.

#![expect(
    unsafe_code,
    reason = "no safe wrapper for the settings of the C library; the block argues its preconditions"
)]

/// Has the C library take memory in large pieces, and keep what is freed for what comes next: for a process that works
/// on much at once and ends soon. Giving it back to the kernel, and asking for it again, costs such a process more than a tenth of its time.
pub fn keep_memory() {
    #[cfg(target_env = "gnu")]
    {
        const PIECE: libc::c_int = 4 << 20;
        for (setting, value) in [(libc::M_TOP_PAD, PIECE), (libc::M_TRIM_THRESHOLD, libc::c_int::MAX)] {
            // SAFETY: these settings take any integer, at any time.
            unsafe { libc::mallopt(setting, value) };
        }
    }
}
