//! Executes the program that the arguments name as root of a user namespace in which no user of the
//! host has a number, as containers do.
#![expect(unsafe_code, reason = "changes of the users of this process")]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

fn main() {
    // Outside, where it may say which users the namespace has.
    let script = "read go; for map in uid_map gid_map; do echo '0 100000 65536' > /proc/$PPID/$map || exit 1; done";
    let mut outside =
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("a shell");
    // SAFETY: takes a number.
    let apart = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
    assert_eq!(apart, 0, "{}", std::io::Error::last_os_error());
    std::io::Write::write_all(&mut outside.stdin.take().expect("its input"), b"\n")
        .expect("it reads");
    assert!(outside.wait().expect("its end").success());
    // SAFETY: takes numbers.
    let group = unsafe { libc::setresgid(0, 0, 0) };
    // SAFETY: as above.
    let user = unsafe { libc::setresuid(0, 0, 0) };
    assert_eq!((group, user), (0, 0), "{}", std::io::Error::last_os_error());
    let mut arguments = std::env::args().skip(1);
    let mut program = Command::new(arguments.next().expect("the program"));
    panic!("{}", program.args(arguments).exec());
}
