//! A harness for tests that build: the launcher has to be the first line of their `main`.

use std::process::ExitCode;

use libtest_mimic::Arguments;
pub use libtest_mimic::Trial;

/// Runs `trials` as the standard harness would, after `launcher` (`sandbox::launcher_main`) had its turn.
///
/// The launcher is this binary again, so it is called before the arguments are read and before any thread is
/// started. It comes as a function because this crate stands below the sandbox. The target needs
/// `harness = false`; [`trials!`](crate::trials) makes the list.
///
/// ```
/// fn adds_up() {
///     assert_eq!(1 + 1, 2);
/// }
///
/// # let _ =
/// test_support::main_with_launcher(|| (), test_support::trials![adds_up]);
/// ```
pub fn main_with_launcher(launcher: fn(), trials: Vec<Trial>) -> ExitCode {
    launcher();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Lists test functions under their own names, for [`main_with_launcher`](crate::main_with_launcher).
///
/// A function that is left out is dead code, which the compiler reports.
#[macro_export]
macro_rules! trials {
    ($($test:path),* $(,)?) => {
        vec![$($crate::Trial::test(stringify!($test), || {
            $test();
            Ok(())
        })),*]
    };
}
