//! This test binary as a worker program.

use std::env;
use std::process::{Command, Stdio};

use coprocess::Coprocess;

const ROLE: &str = "COPROCESS_TEST_ROLE";

/// Makes a command that starts this test binary as a worker program.
///
/// The program runs the test function `worker_program` of the module that this macro stands in, and
/// no other test. [`role`] tells the function which role to play.
macro_rules! program {
    ($role:expr) => {
        $crate::common::program_of(module_path!(), $role)
    };
}
pub(crate) use program;

/// Makes a command that runs a shell command, and then the program of [`program!`]. The program
/// inherits what the shell command sets, such as a limit or an ignored signal.
macro_rules! program_after {
    ($shell_command:expr, $role:expr $(,)?) => {
        $crate::common::after($shell_command, $crate::common::program!($role), $role)
    };
}
pub(crate) use program_after;

/// Returns the name by which the test harness knows the function `worker_program` of a module.
pub(crate) fn worker_program(module: &str) -> String {
    // The harness leaves out the name of the crate.
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::worker_program"),
        None => "worker_program".to_owned(),
    }
}

/// Makes the command of [`program!`].
pub(crate) fn program_of(module: &str, role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([&worker_program(module), "--exact", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::null());
    command
}

/// Makes the command of [`program_after!`].
pub(crate) fn after(shell_command: &str, plain: Command, role: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{shell_command}; exec \"$0\" \"$@\""))
        .arg(plain.get_program())
        .args(plain.get_args())
        .env(ROLE, role)
        .stdout(Stdio::null());
    command
}

/// Serves the parent as a worker function would. For `worker_program`.
pub(crate) fn serve_parent(serve: fn(Coprocess)) {
    let parent = coprocess::parent().unwrap();
    serve(parent.clone());
    parent.run().unwrap();
}

/// Returns the role that `worker_program` has to play, or `None` when the test harness runs that
/// function as a test.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}
