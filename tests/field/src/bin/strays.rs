//! A worker starts this program again, which happens to use coprocess, too. The program must not
//! notice that. The argument says how it is started; `daemon FILE` is the program that is started.
#![expect(unsafe_code, reason = "adoption and namespaces")]

use std::os::unix::process::CommandExt;
use std::process::Command;

fn daemon(file: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("its name"));
    command.args(["daemon", file]);
    command
}

fn main() {
    coprocess::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [how, file] = &arguments[..] else { panic!("two arguments") };
    if how == "daemon" {
        // In full: what it starts must work, too.
        let co = coprocess::fork(|co| {
            co.serve("one", |(): ()| 1);
        });
        let outcome = co.and_then(|co| co.call::<i32>("one", ()));
        let marked =
            std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("COPROCESS"));
        std::fs::write(file, format!("{outcome:?} {marked}")).expect("write");
        return;
    }
    let mut first = None;
    match how.as_str() {
        "adopted" => {
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0)
        }
        "namespace" => {
            // This process can start no threads any more once its children are in another
            // namespace.
            first = Some(coprocess::fork(|_| ()).expect("a first worker"));
            // SAFETY: takes a number. The next child is the first process of the new namespace.
            if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
                println!("refused");
                return;
            }
        }
        _ => {}
    }
    let co = coprocess::fork(|co| {
        co.serve("adopted", |file: String| {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "\"$0\" daemon \"$1\" &"])
                .arg(std::env::current_exe().expect("its name"))
                .arg(file);
            shell.status().expect("a shell").success()
        });
        co.serve("child", |file: String| daemon(&file).status().expect("the daemon").success());
        co.listen("in its place", |file: String| panic!("{}", daemon(&file).exec()));
        let weak = co.downgrade();
        co.serve("namespace", move |file: String| {
            // This process is process 1 here, as its parent may be where the parent is. It adopts
            // its own child.
            assert_eq!(std::process::id(), 1);
            assert!(weak.upgrade().is_some());
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "\"$0\" daemon \"$1\" &"])
                .arg(std::env::current_exe().expect("its name"))
                .arg(file);
            shell.status().expect("a shell").success()
        });
    });
    let co = match co {
        Ok(co) => co,
        Err(error) => {
            println!("{error}");
            return;
        }
    };
    if how == "in its place" {
        co.emit(how, file).expect("emit");
    } else {
        println!("{:?}", co.call::<bool>(how, file));
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::fs::read(file).map_or(true, |text| text.is_empty()) {
        assert!(std::time::Instant::now() < deadline, "the daemon did not run");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    println!("{}", std::fs::read_to_string(file).expect("read"));
    drop(first);
}
