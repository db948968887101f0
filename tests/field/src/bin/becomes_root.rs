//! A set-user-ID program that makes all its users root, and executes the program that the arguments
//! name: nothing says then that the program's environment is another user's.
#![expect(unsafe_code, reason = "changes of the user of this process")]

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    // SAFETY: takes numbers.
    let group = unsafe { libc::setresgid(0, 0, 0) };
    // SAFETY: as above.
    let user = unsafe { libc::setresuid(0, 0, 0) };
    assert_eq!((group, user), (0, 0), "{}", std::io::Error::last_os_error());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let program = arguments.first().expect("the program");
    panic!("{}", Command::new(program).exec());
}
