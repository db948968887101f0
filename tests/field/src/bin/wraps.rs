//! Runs the program that the arguments name and waits for it, as wrappers do: without the
//! descriptors that it does not know.
#![expect(unsafe_code, reason = "descriptors that belong to others")]

use std::process::Command;

fn main() {
    // SAFETY: closes what others have opened: this is what the test is about.
    assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) }, 0);
    let mut arguments = std::env::args().skip(1);
    let mut program = Command::new(arguments.next().expect("the program"));
    let status = program.args(arguments).status().expect("it runs");
    std::process::exit(status.code().unwrap_or(1));
}
