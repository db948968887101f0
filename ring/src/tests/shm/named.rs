//! Tests segments with names: what is checked before one is used, and what is left behind when a
//! process dies.
#![expect(unsafe_code, reason = "ending a main thread alone")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::shm::layout::segment_bytes;
use crate::shm::named;
use crate::tests::common::{backends, is_foreign};
use crate::{Backend, Region, Segment, SegmentError, Wakeup};

const CAPACITY: usize = 4096;
/// The variable that tells a copy of this test binary what to do.
const ROLE: &str = "COPROCESS_TEST_NAMED";

fn create() -> (Region, Segment) {
    Segment::create(Backend::Named, Wakeup::Futex, CAPACITY).expect("create a segment")
}

/// Returns the name in what is sent to the peer: eight bytes of nonce, then the name.
fn name_of(segment: &Segment) -> &str {
    std::str::from_utf8(&segment.name()[8..]).expect("ASCII")
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name.trim_start_matches('/'))
}

fn attach(segment: &Segment) -> Result<Region, SegmentError> {
    Segment::attach(segment.kind(), segment.name(), None, CAPACITY)
}

#[test]
fn names_are_random_and_for_this_user_alone() {
    let (one, another) = (create().1, create().1);
    assert_ne!(name_of(&one), name_of(&another));
    assert_ne!(one.name()[..8], another.name()[..8], "the nonces are random, too");
    let (random_one, random_other) =
        (name_of(&one).rsplit_once('-').unwrap(), name_of(&another).rsplit_once('-').unwrap());
    assert_eq!(random_one.0, random_other.0, "they have one creator");
    assert_eq!(random_one.1.len(), 32, "128 bits");
    let file = fs::metadata(path_of(name_of(&one))).expect("it exists");
    assert_eq!((file.mode() & 0o777, file.uid()), (0o600, nix::unistd::geteuid().as_raw()));
}

#[test]
fn the_name_is_gone_once_both_have_attached_and_the_memory_is_not() {
    let (ours, segment) = create();
    let path = path_of(name_of(&segment));
    let theirs = attach(&segment).unwrap();
    assert!(path.exists());
    segment.attached(&ours).unwrap();
    assert!(!path.exists());
    ours.control(0).head.word.store(77, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(theirs.control(0).head.word.load(std::sync::atomic::Ordering::SeqCst), 77);
}

#[test]
fn a_name_that_is_given_up_is_removed() {
    let (_ours, segment) = create();
    let path = path_of(name_of(&segment));
    drop(segment);
    assert!(!path.exists());
}

/// The package removes the name in whichever process thinks that it owns the name.
#[test]
fn neither_the_worker_nor_the_memory_owns_the_name() {
    let (ours, segment) = create();
    let path = path_of(name_of(&segment));
    drop(attach(&segment).unwrap());
    assert!(path.exists(), "the worker's copy");
    drop(ours);
    assert!(path.exists(), "the memory of the parent itself");
}

#[test]
fn all_memory_is_there_before_it_is_used() {
    let (_region, segment) = create();
    let blocks = fs::metadata(path_of(name_of(&segment))).unwrap().blocks();
    assert_eq!(blocks, segment_bytes(CAPACITY) as u64 / 512);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let (_region, segment) = create();
    let name = name_of(&segment);
    let before = fs::read(path_of(name)).unwrap();
    match named::create_under(name, 1, CAPACITY).map(drop) {
        Err(SegmentError::Os { source, .. }) => {
            assert_eq!(source.raw_os_error(), Some(libc::EEXIST))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(path_of(name)).unwrap(), before, "what is there is left as it was");
}

/// A process that knows the name has put another file there, of the right size and with the right
/// header.
#[test]
fn a_squatted_name_is_refused() {
    let (_region, segment) = create();
    let (_squatter, squatted) = create();
    fs::remove_file(path_of(name_of(&segment))).unwrap();
    fs::copy(path_of(name_of(&squatted)), path_of(name_of(&segment))).unwrap();
    is_foreign(attach(&segment), "nonce");
}

#[test]
fn another_length_is_refused() {
    for bytes in [
        0,
        4096,
        segment_bytes(CAPACITY) - 1,
        segment_bytes(CAPACITY) + 1,
        2 * segment_bytes(CAPACITY),
    ] {
        let (ours, segment) = create();
        // Not to be touched any more: a touch would be the SIGBUS.
        std::mem::forget(ours);
        fs::File::options()
            .write(true)
            .open(path_of(name_of(&segment)))
            .unwrap()
            .set_len(bytes as u64)
            .unwrap();
        match attach(&segment) {
            Err(SegmentError::Foreign(what)) => assert!(what.contains("size"), "{what}"),
            // An empty file cannot be mapped.
            Err(SegmentError::Os { .. }) if bytes == 0 => {}
            other => panic!("{bytes} bytes: {other:?}"),
        }
    }
}

#[test]
fn another_magic_and_another_wake_up_are_refused() {
    let (_region, segment) = create();
    let mut bytes = fs::read(path_of(name_of(&segment))).unwrap();
    bytes[0] ^= 1;
    fs::write(path_of(name_of(&segment)), &bytes).unwrap();
    is_foreign(attach(&segment), "magic");

    let (_region, segment) = create();
    let events = segment.kind() | 1 << 8;
    match Segment::attach(events, segment.name(), None, CAPACITY) {
        Err(SegmentError::Foreign(what)) => assert!(what.contains("wake-up"), "{what}"),
        Err(SegmentError::FeatureMissing("raw-sync")) if cfg!(not(feature = "raw-sync")) => {}
        other => panic!("{other:?}"),
    }
}

/// What comes through the socket is input.
#[test]
fn nonsense_for_a_name_is_refused() {
    let (_region, segment) = create();
    let nonce = &segment.name()[..8];
    let with = |name: &[u8]| [nonce, name].concat();
    for name in [
        &b""[..],
        b"/",
        b"/coprocess",
        b"/etc/passwd",
        b"/coprocess-/../x",
        b"/coprocess-\0",
        b"/coprocess-\xff\xfe",
        b"coprocess-1",
    ] {
        is_foreign(Segment::attach(segment.kind(), &with(name), None, CAPACITY), "name");
    }
    is_foreign(Segment::attach(segment.kind(), b"short", None, CAPACITY), "name");
    for kind in [2, 0x0201, 0xff00, 0x1_0000, u32::MAX] {
        is_foreign(Segment::attach(kind, segment.name(), None, CAPACITY), "kind");
    }
    let nothing_there = with(b"/coprocess-0-0-0-0");
    assert!(matches!(
        Segment::attach(segment.kind(), &nothing_there, None, CAPACITY),
        Err(SegmentError::Os { .. })
    ));
}

#[test]
fn a_size_beyond_the_limit_for_files_is_an_error_and_no_signal() {
    role_in_a_copy("limit").map_or_else(
        || panic!("no copy"),
        |(status, said)| assert!(status.success(), "{status}: {said}"),
    );
}

/// The file system has 64 KiB, and is full before the segment is complete. That is an error, and
/// not a SIGBUS at the first touch.
#[test]
fn a_full_dev_shm_is_an_error_and_no_signal() {
    if !nix::unistd::geteuid().is_root() {
        // A user of a namespace of its own may mount, too, where the system lets the user; the rest
        // is as for root.
        let unshare =
            Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
        assert!(
            unshare.is_ok_and(|status| status.success()),
            "this test needs the right to mount a file system"
        );
    }
    let (status, said) = role_in_a_copy("full").expect("a copy");
    assert!(status.success(), "{status}: {said}");
}

/// Runs one role in a copy of this test binary. Returns how the copy ended and what it said.
fn role_in_a_copy(role: &str) -> Option<(std::process::ExitStatus, String)> {
    let own = std::env::current_exe().ok()?;
    let args = [
        "--exact",
        "tests::shm::named::a_copy_that_plays_a_role",
        "--nocapture",
        "--test-threads=1",
    ];
    let mut command = if role == "full" {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--"]).arg(own);
        command
    } else {
        Command::new(own)
    };
    let output = command.args(args).env(ROLE, role).stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some((output.status, said.into_owned()))
}

/// Does nothing, unless this process is the copy.
#[test]
fn a_copy_that_plays_a_role() {
    match std::env::var(ROLE).as_deref() {
        Ok("limit") => {
            use nix::sys::resource::{Resource, setrlimit};
            setrlimit(Resource::RLIMIT_FSIZE, 8192, 8192).unwrap();
            match Segment::create(Backend::Named, Wakeup::Futex, CAPACITY) {
                Err(SegmentError::Os { source, .. }) => {
                    assert_eq!(source.raw_os_error(), Some(libc::EFBIG))
                }
                other => panic!("{other:?}"),
            }
        }
        Ok("full") => {
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64k", "none", "/dev/shm"])
                .status();
            assert!(mounted.expect("mount is there").success());
            let full = Segment::create(Backend::Named, Wakeup::Futex, 1 << 20);
            match full {
                Err(SegmentError::Os { source, .. }) => {
                    assert_eq!(source.raw_os_error(), Some(libc::ENOSPC))
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(fs::read_dir("/dev/shm").unwrap().count(), 0, "nothing is left behind");
            let (_region, segment) = Segment::create(Backend::Named, Wakeup::Futex, CAPACITY)
                .expect("what fits is made");
            assert!(attach(&segment).is_ok());
        }
        Ok("die") => hold_a_name(),
        Ok("leave") => {
            use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
            extern "C" fn end_this_thread(_: libc::c_int) {
                // SAFETY: ends this thread in the kernel, without unwinding: what the thread has on
                // its stack stays where it is.
                unsafe { libc::syscall(libc::SYS_exit, 0) };
            }
            let action = SigAction::new(
                SigHandler::Handler(end_this_thread),
                SaFlags::empty(),
                SigSet::empty(),
            );
            // SAFETY: the handler makes one system call, which any handler may.
            unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
            let main = nix::unistd::getpid().as_raw();
            // SAFETY: takes integers.
            unsafe { libc::syscall(libc::SYS_tgkill, main, main, libc::SIGUSR1) };
            hold_a_name()
        }
        _ => {}
    }
}

fn hold_a_name() -> ! {
    let (_region, segment) = create();
    println!("name {}", name_of(&segment));
    loop {
        std::thread::park();
    }
}

/// A copy of this test binary that has made a name, and may be killed.
struct Creator {
    process: std::process::Child,
    path: PathBuf,
}

impl Creator {
    fn start(role: &str) -> Creator {
        let args = [
            "--exact",
            "tests::shm::named::a_copy_that_plays_a_role",
            "--nocapture",
            "--test-threads=1",
        ];
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(args)
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a copy of this test binary");
        let said = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let name = said
            .filter_map(|line| Some(line.split_once("name ")?.1.to_owned()))
            .next()
            .expect("it says the name");
        Creator { process, path: path_of(&name) }
    }

    /// Waits until the kernel says that the main thread has ended, and that `others` more threads
    /// have not.
    fn wait_until_it_is_a_zombie(&self, others: usize) {
        let process = format!("/proc/{}", self.process.id());
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let is_zombie = || fs::read_to_string(format!("{process}/stat")).unwrap().contains(") Z ");
        // A process that is killed ends thread by thread, and the main thread need not be the last
        // one.
        let threads = || fs::read_dir(format!("{process}/task")).unwrap().count();
        while !is_zombie() || threads() != 1 + others {
            assert!(std::time::Instant::now() < until, "it does not end");
            std::thread::yield_now();
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        assert_eq!(self.process.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}

impl Drop for Creator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_a_killed_process_has_left_is_removed_by_the_next_start() {
    assert!(backends().contains(&Backend::Named));
    let (mut dead, living, headless) =
        (Creator::start("die"), Creator::start("die"), Creator::start("leave"));
    dead.process.kill().unwrap();
    // First a zombie, which has ended although its id is taken. Then a process that looks like a
    // zombie, although only its main thread has ended.
    dead.wait_until_it_is_a_zombie(0);
    headless.wait_until_it_is_a_zombie(1);
    let (_region, segment) = create();
    assert!(!dead.path.exists(), "a start removes it");
    assert!(living.path.exists(), "and none that belongs to a process that lives");
    assert!(headless.path.exists(), "if only by another thread");
    assert!(path_of(name_of(&segment)).exists(), "nor its own");

    let mut reaped = Creator::start("die");
    reaped.kill();
    drop(create());
    assert!(!reaped.path.exists());
    assert!(living.path.exists());
}

/// A process id may belong to another process by now, which only the start tells. Names of other
/// namespaces mean nothing here.
#[test]
fn who_has_made_a_name_is_told_by_more_than_its_process_id() {
    let (_region, segment) = create();
    let name = name_of(&segment).trim_start_matches("/coprocess-").to_owned();
    let parts: Vec<&str> = name.split('-').collect();
    let [namespaces, id, start, random] = parts[..] else { panic!("{name}") };
    let id = id.parse::<u32>().unwrap();
    assert_eq!(id, std::process::id());
    let flip = |hex: &str| hex.chars().rev().collect::<String>();
    let earlier = format!(
        "/coprocess-{namespaces}-{id}-{}-{}",
        start.parse::<u64>().unwrap() - 1,
        flip(random)
    );
    let elsewhere = format!(
        "/coprocess-{:x}-{id}-1-{}",
        u64::from_str_radix(namespaces, 16).unwrap() ^ 1,
        flip(random)
    );
    let unknown = format!("/coprocess-unknown-{}", flip(random));
    let link = format!("/coprocess-{namespaces}-{id}-1-{}", flip(random));
    for name in [&earlier, &elsewhere, &unknown] {
        fs::write(path_of(name), "").unwrap();
    }
    let target = path_of(&unknown);
    std::os::unix::fs::symlink(&target, path_of(&link)).unwrap();
    drop(create());
    let exist = [&earlier, &elsewhere, &unknown].map(|name| path_of(name).exists());
    let is_link = path_of(&link).is_symlink();
    for name in [&elsewhere, &unknown, &link] {
        fs::remove_file(path_of(name)).unwrap();
    }
    assert_eq!(exist, [false, true, true]);
    assert!(is_link, "nothing but what shm_open makes is touched");
}

/// The package keeps its descriptor, which must not be the one that the program prints to.
#[test]
fn the_descriptor_is_no_standard_stream() {
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "exec {} --exact tests::shm::named::a_copy_with_no_streams --test-threads=1 0<&- 1>&- 2>&-",
        own.display()
    );
    let status = Command::new("sh").args(["-c", &script]).env(ROLE, "streams").status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_copy_with_no_streams() {
    if std::env::var(ROLE).as_deref() != Ok("streams") {
        return;
    }
    // The Rust runtime has opened them anew.
    for fd in 0..3 {
        nix::unistd::close(fd).unwrap();
    }
    let (_region, segment) = create();
    let name = name_of(&segment).to_owned();
    for fd in 0..3 {
        let is_it =
            fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|to| to == path_of(&name));
        // No process reads a message.
        assert!(!is_it);
    }
    drop(segment);
    assert!(!path_of(&name).exists());
}
