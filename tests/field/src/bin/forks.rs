//! Forks a worker, with the rights that it was started with, or after `seteuid UID` or `setuid
//! UID`.
#![expect(unsafe_code, reason = "changes of the user of this process")]

use coprocess::Builder;

fn main() {
    coprocess::init();
    println!("main runs");
    // Should it run in the worker, too, that is seen, and it ends there.
    if std::env::var_os("STOP").is_some() {
        return;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [how, user] = &arguments[..] {
        let user: libc::uid_t = user.parse().expect("a number");
        let changed = match how.as_str() {
            // SAFETY: takes a number.
            "seteuid" => unsafe { libc::seteuid(user) },
            // SAFETY: takes numbers.
            _ => unsafe { libc::setresuid(user, user, user) },
        };
        assert_eq!(changed, 0, "{}", std::io::Error::last_os_error());
    }
    let co = Builder::new().env("STOP", "1").fork(|co| {
        co.serve("one", |(): ()| 1);
    });
    match co {
        Ok(co) => println!("{:?}", co.call::<i32>("one", ())),
        Err(error) => println!("{error}"),
    }
}
