//! Tests that need something from outside, such as a program: a harness that reports them as
//! ignored, with the reason, where it is missing.
//!
//! Whether something is missing shows only when a test runs, and the built-in harness can then
//! report nothing but success or failure. So a test file with such tests has `harness = false` in
//! Cargo.toml and a `main` that calls [`run_tests`] with the names of its tests.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a test did not run.
#[derive(Debug)]
pub enum NotRun {
    /// A program is missing; how to install it.
    Program(String),
    /// The machine lacks something that no package brings, such as a module of its kernel.
    Machine(String),
}

/// What a test function may return: nothing, or whether it ran.
pub trait Ran {
    /// The reason if the test did not run.
    fn into_result(self) -> Result<(), NotRun>;
}

impl Ran for () {
    fn into_result(self) -> Result<(), NotRun> {
        Ok(())
    }
}

impl Ran for Result<(), NotRun> {
    fn into_result(self) -> Result<(), NotRun> {
        self
    }
}

/// One test of [`run_tests`].
pub fn trial<R: Ran + 'static>(name: &str, test: fn() -> R) -> Trial {
    Trial::ignorable_test(name, move || match test().into_result() {
        Ok(()) => Ok(Completion::Completed),
        // As in CI, where every program is installed.
        Err(NotRun::Program(reason)) if is_everything_required() => Err(Failed::from(reason)),
        Err(NotRun::Program(reason) | NotRun::Machine(reason)) => {
            Ok(Completion::ignored_with(reason))
        }
    })
}

/// Whether a test that cannot run has failed.
fn is_everything_required() -> bool {
    std::env::var("PUSHGATEWAY_E2E").as_deref() == Ok("required")
}

/// Runs the tests that the command line selects, as the built-in harness does.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs these test functions, the body of `main`. The compiler warns about a function that is
/// missing from the list, because nothing uses it.
macro_rules! run_tests {
    ($($test:ident),+ $(,)?) => {
        $crate::common::outside::run(vec![
            $($crate::common::outside::trial(stringify!($test), $test)),+
        ])
    };
}

pub(crate) use run_tests;

/// Finds an external program on the PATH; `install` tells the reader how to install it.
pub fn find_program(name: &str, install: &str) -> Result<PathBuf, NotRun> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| NotRun::Program(format!("{name} is not installed: {install}")))
}
