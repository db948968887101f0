//! Does something before `init()` that it should not, as the argument says. A worker has no arguments:
//! it finds in a variable what to do.
#![expect(unsafe_code, reason = "descriptors that belong to others")]

use std::process::Command;

use coprocess::Builder;

fn main() {
    let how = std::env::var("HOW").unwrap_or_default();
    match how.as_str() {
        // SAFETY: closes what others have opened: this is what the test is about.
        "closes" => assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) }, 0),
        "helps itself" => {
            let helper = std::env::var("HELPER").expect("another program");
            let output = Command::new(helper).env_remove("HOW").output().expect("the helper");
            // To the standard error: the helper's own lines, and how it ended.
            eprintln!("helper: {} {}", output.status, String::from_utf8_lossy(&output.stdout).replace('\n', "; "));
        }
        _ => {}
    }
    if how != "forgets" {
        coprocess::init();
    }
    println!("main runs");
    let how = std::env::args().nth(1).unwrap_or_else(|| "nothing".to_owned());
    let co = Builder::new().env("HOW", how).fork(|co| {
        co.serve("one", |(): ()| 1);
    });
    match co {
        Ok(co) => println!("{:?}", co.call::<i32>("one", ())),
        Err(error) => println!("{error}"),
    }
}
