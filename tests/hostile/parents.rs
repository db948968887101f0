//! The same the other way round: hostile parents against an honest worker program.
#![expect(unsafe_code, reason = "a descriptor that an executed program inherits")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use coprocess::serde_bytes::ByteBuf;
use coprocess::{Coprocess, Error};
use coprocess_ring::ABI_VERSION;
use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::attacks::words;
use crate::common::{AT_ONCE, LIMIT, alone, descriptors, eventually, within};
use crate::kit::lifeline::{Hello, Lifeline, MAGIC, claim};
use crate::kit::memory::{CLOSED, CONTROL, Memory, SLOTS};
use crate::kit::random::{Numbers, rounds, seed};
use crate::kit::wire::{ABORT, MORE, Message, Writer};
use crate::parent::{MEMORY_KIB, note_panics};
use crate::program;

const CAPACITY: usize = 8192;
/// What the claim repeats.
const NONCE: u64 = 0x0123_4567_89ab_cdef;
const DEADLINE: Duration = Duration::from_millis(20);

/// What the worker makes of it is its exit status.
const REFUSED: i32 = 3;
const DISCONNECTED: i32 = 1;
const MISBEHAVED: i32 = 4;
/// The exit status of a worker that its own library ended, since it was not done in time after its
/// parent was gone. That can befall an honest worker on a busy machine.
const ORPHANED: i32 = 137;

/// Something that ends in time.
type Work = fn(&Coprocess) -> Result<(), Error>;

/// Does everything at once with its parent, whatever that is.
pub(crate) fn honest_worker() -> ! {
    note_panics();
    let before = descriptors(std::process::id()).len();
    let parent = match coprocess::parent() {
        Ok(parent) => parent,
        Err(error) => {
            eprint!("{error}");
            // The socket, too, is closed, unless it is none of the library's.
            let mine = !matches!(error, Error::NotAWorker);
            assert!(
                descriptors(std::process::id()).len() < before + usize::from(!mine),
                "descriptors are left over"
            );
            std::process::exit(REFUSED)
        }
    };
    parent.serve("echo", |bytes: ByteBuf| bytes).listen("text", |text: String| drop(text));
    let works: [Work; 3] = [
        |parent| {
            parent.call_timeout::<ByteBuf>("echo", ByteBuf::from(vec![7; 500]), DEADLINE).map(drop)
        },
        |parent| parent.emit_timeout("event", "text", DEADLINE),
        |parent| parent.emit_timeout("large", ByteBuf::from(vec![7; 50_000]), DEADLINE),
    ];
    for work in works {
        let parent = parent.clone();
        thread::spawn(move || {
            loop {
                let start = Instant::now();
                let outcome = work(&parent);
                let took = start.elapsed();
                assert!(took < DEADLINE + AT_ONCE, "{outcome:?} took {took:?}");
                match outcome {
                    Err(Error::Disconnected(_) | Error::Misbehaved(_) | Error::Closed) => return,
                    Ok(())
                    | Err(
                        Error::Timeout | Error::Full | Error::Decode { .. } | Error::Remote { .. },
                    ) => {}
                    Err(
                        Error::MethodNotFound { .. }
                        | Error::TooLarge { .. }
                        | Error::Unheard { .. },
                    ) => {}
                    Err(other) => panic!("nothing that a parent does may lead to this: {other:?}"),
                }
            }
        });
    }
    std::process::exit(match parent.run() {
        Ok(()) => 0,
        Err(Error::Disconnected(_)) => DISCONNECTED,
        Err(Error::Misbehaved(_)) => MISBEHAVED,
        Err(other) => panic!("{other:?}"),
    })
}

/// A worker program, and the other end of its socket.
struct Ward {
    child: Child,
    lifeline: Option<Lifeline>,
    peak_kib: u64,
}

impl Ward {
    /// Starts a program that is a worker's, if the claim is in order.
    fn new(claim: Option<&[u8]>) -> Ward {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .unwrap();
        let fd = theirs.as_raw_fd();
        let mut command = program("honest");
        command
            .env("COPROCESS_LIFELINE", format!("program:{fd}:{NONCE:016x}:1:0:0:0"))
            .stderr(Stdio::piped());
        let inherit = move || {
            // SAFETY: the child has a copy of it, at this number.
            let theirs = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            fcntl(theirs, FcntlArg::F_SETFD(FdFlag::empty()))
                .map(drop)
                .map_err(std::io::Error::from)
        };
        // SAFETY: one system call between fork and exec.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, inherit) };
        let lifeline = Lifeline { socket: ours };
        // Before it starts: it does not wait for a claim.
        claim.map(|claim| lifeline.send(claim, &[]).unwrap());
        let child = command.spawn().unwrap();
        drop(theirs);
        Ward { child, lifeline: Some(lifeline), peak_kib: 0 }
    }

    fn say(&self, bytes: &[u8], fds: &[RawFd]) {
        // One that has refused already has closed it.
        let _ = self.lifeline.as_ref().unwrap().send(bytes, fds);
    }

    /// Waits until the worker ends, and returns its exit status and what it said. The worker must
    /// not end by a signal, and not by a panic.
    fn end(mut self) -> (i32, String) {
        self.lifeline = None;
        let deadline = Instant::now() + AT_ONCE;
        let status = loop {
            self.look();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("the worker did not end: {:?}", self.child.wait().unwrap());
            }
            thread::sleep(Duration::from_millis(1));
        };
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let code = status.code().unwrap_or_else(|| panic!("{status}: {said}"));
        assert!(
            [0, REFUSED, DISCONNECTED, MISBEHAVED, ORPHANED].contains(&code),
            "{status}: {said}"
        );
        assert!(self.peak_kib < MEMORY_KIB, "{} KiB", self.peak_kib);
        (code, said)
    }

    /// Takes note of the most memory it had.
    fn look(&mut self) {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        self.peak_kib = self.peak_kib.max(peak.unwrap_or(0));
    }
}

fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        abi: ABI_VERSION,
        capacity: CAPACITY as u64,
        max_message: 1 << 20,
        call_timeout: u64::MAX,
        close_timeout: 20_000_000,
        arguments: 0,
    }
}

/// Makes a segment like an honest parent's, but for its seals and its size.
fn segment(bytes: usize, seals: SealFlag) -> OwnedFd {
    let file =
        memfd_create(c"hostile", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    nix::unistd::ftruncate(&file, bytes as libc::off_t).unwrap();
    if bytes >= 32 {
        let mut header = Vec::new();
        header.extend(MAGIC.to_le_bytes());
        header.extend(ABI_VERSION.to_le_bytes());
        header.extend(128_u32.to_le_bytes());
        header.extend((CAPACITY as u64).to_le_bytes());
        header.extend((bytes as u64).to_le_bytes());
        assert_eq!(nix::sys::uio::pwrite(&file, &header, 0).unwrap(), header.len());
    }
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file
}

const BYTES: usize = SLOTS + 2 * CAPACITY;

fn good_seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW
}

#[track_caller]
fn is_refused(bytes: &[u8], fds: &[RawFd], because: &str) {
    let ward = Ward::new(Some(&claim(NONCE)));
    ward.say(bytes, fds);
    let (code, said) = ward.end();
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains(because), "{said:?} does not say {because:?}");
}

#[test]
fn hellos_that_make_no_sense_are_refused() {
    within(LIMIT, || {
        alone!({
            let good = segment(BYTES, good_seals());
            let fd = [good.as_raw_fd()];
            let bytes = hello().bytes();
            is_refused(b"", &fd, "the parent is gone");
            for length in [1, 11, 12, 63, 71] {
                is_refused(&bytes[..length], &fd, "makes no sense");
            }
            is_refused(&[0xa5; 64], &fd, "makes no sense");
            is_refused(&[0xa5; 10_000], &fd, "makes no sense");
            is_refused(&Hello { magic: MAGIC + 1, ..hello() }.bytes(), &fd, "makes no sense");
            is_refused(&Hello { abi: ABI_VERSION + 1, ..hello() }.bytes(), &fd, "another version");
            is_refused(&bytes, &[], "is not what it takes");
            is_refused(&[&bytes[..], b"a name"].concat(), &fd, "is not what it takes");
            // More than one is none. All are closed, which is what the worker looks at when it is
            // refused.
            let null = File::open("/dev/null").unwrap().into_raw_fd();
            is_refused(&bytes, &[fd[0], null], "makes no sense");
            is_refused(&bytes, &[fd[0]; 253], "makes no sense");
            is_refused(&bytes, &[null], "read the seals");
            for capacity in [0, 1, 4095, 4097, CAPACITY as u64 + 128, 1 << 31, 1 << 63, u64::MAX] {
                is_refused(&Hello { capacity, ..hello() }.bytes(), &fd, "announced capacity");
            }
            // Arguments of more than a message may have are not even waited for.
            for arguments in [(1 << 20) + 1, u64::MAX] {
                is_refused(&Hello { arguments, ..hello() }.bytes(), &fd, "makes no sense");
            }
            is_refused(&Hello { capacity: 2 * CAPACITY as u64, ..hello() }.bytes(), &fd, "size");
        });
    });
}

#[test]
fn claims_that_are_none_are_refused() {
    within(LIMIT, || {
        alone!({
            let mut ward = Ward::new(None);
            // Although the socket is still open.
            eventually("it has ended", || ward.child.try_wait().unwrap().is_some());
            let (code, said) = ward.end();
            assert!(code == REFUSED && said.contains("not a worker"), "{said}");
            let null = File::open("/dev/null").unwrap();
            for claim in [
                &b"x"[..],
                &MAGIC.to_le_bytes(),
                &claim(NONCE)[..15],
                &claim(NONCE + 1),
                &[0xa5; 16],
                &[0xa5; 10_000],
            ] {
                let ward = Ward::new(Some(claim));
                ward.say(&hello().bytes(), &[null.as_raw_fd()]);
                let (code, said) = ward.end();
                assert!(code == REFUSED && said.contains("not a worker"), "{said}");
            }
        });
    });
}

#[test]
fn segments_that_are_none_are_refused() {
    within(LIMIT, || {
        alone!({
            let hello = hello().bytes();
            for seals in [
                SealFlag::empty(),
                SealFlag::F_SEAL_SHRINK,
                SealFlag::F_SEAL_GROW,
                SealFlag::F_SEAL_SEAL,
            ] {
                is_refused(
                    &hello,
                    &[segment(BYTES, seals).as_raw_fd()],
                    "not sealed against a change of size",
                );
            }
            for bytes in [0, 32, 4096, BYTES - 4096, BYTES - 1, BYTES + 1, 2 * BYTES] {
                is_refused(&hello, &[segment(bytes, good_seals()).as_raw_fd()], "size");
            }
            let unwritable = segment(BYTES, good_seals() | SealFlag::F_SEAL_FUTURE_WRITE);
            is_refused(&hello, &[unwritable.as_raw_fd()], "map the segment");
            let good = segment(BYTES, good_seals());
            let read_only = File::open(format!("/proc/self/fd/{}", good.as_raw_fd())).unwrap();
            is_refused(&hello, &[read_only.as_raw_fd()], "map the segment");

            let (reader, writer) = std::io::pipe().unwrap();
            let path = crate::common::fresh_path("not-a-segment");
            let file = File::create_new(&path).unwrap();
            file.set_len(BYTES as u64).unwrap();
            let others = [
                File::open("/dev/zero").unwrap(),
                File::open("/").unwrap(),
                File::open("/proc/self/exe").unwrap(),
                file,
            ];
            fs::remove_file(path).unwrap();
            for fd in others.iter().map(AsFd::as_fd).chain([reader.as_fd(), writer.as_fd()]) {
                is_refused(&hello, &[fd.as_raw_fd()], "read the seals of the segment");
            }
        });
    });
}

#[test]
fn a_parent_that_says_nothing() {
    within(LIMIT, || {
        alone!({
            let ward = Ward::new(Some(&claim(NONCE)));
            thread::sleep(Duration::from_millis(30));
            // It waits for as long as there is a parent.
            let (code, said) = ward.end();
            assert_eq!(code, REFUSED, "{said}");
        });
    });
}

/// Starts an honest worker, has `attack` do something to it for a while, and ends the pair. The
/// worker has to end by itself, in one attempt of several.
fn attack(hello: &Hello, mut attack: impl FnMut(&mut Ward, Memory)) -> i32 {
    for _ in 0..8 {
        let file = segment(BYTES, good_seals());
        let memory = Memory::map(&file, CAPACITY).unwrap();
        let mut ward = Ward::new(Some(&claim(NONCE)));
        ward.say(&hello.bytes(), &[file.as_raw_fd()]);
        attack(&mut ward, memory);
        ward.look();
        let (code, _) = ward.end();
        if code != ORPHANED {
            return code;
        }
    }
    panic!("the worker does not end by itself when its parent is gone");
}

/// Waits until the worker has attached and begun.
fn begun(memory: Memory) {
    eventually("it has sent something", || memory.word(SLOTS + CAPACITY).load(SeqCst) != 0);
}

fn for_a_while(mut step: impl FnMut()) {
    let until = Instant::now() + Duration::from_millis(60);
    while Instant::now() < until {
        step();
    }
}

#[test]
fn terms_at_their_bounds() {
    within(LIMIT, || {
        alone!({
            for bound in [0, 1, u64::MAX] {
                for hello in [
                    Hello { max_message: bound, ..hello() },
                    Hello { call_timeout: bound, ..hello() },
                    // Not without end: a parent that has closed gives its worker so long.
                    Hello { close_timeout: bound, ..hello() },
                ] {
                    attack(&hello, |_, _| thread::sleep(Duration::from_millis(40)));
                }
            }
        });
    });
}

#[test]
fn words_that_no_parent_writes() {
    within(LIMIT, || {
        alone!({
            let mut found = 0;
            for round in 0..rounds().div_ceil(4) {
                for kind in words::KINDS {
                    let mut numbers = Numbers::new(seed().wrapping_add(round));
                    let code = attack(&hello(), |_, memory| {
                        begun(memory);
                        for_a_while(|| words::sabotage(kind, memory, 0, &mut numbers));
                    });
                    found += u32::from(code == MISBEHAVED);
                }
            }
            assert!(found > 0, "nothing was found to be wrong");
        });
    });
}

#[test]
fn floods_that_no_parent_sends() {
    within(LIMIT, || {
        alone!({
            for what in ["calls", "events", "fragments", "aborts", "after closing"] {
                attack(&hello(), |ward, memory| {
                    let mut writer = Writer::new(memory, 0);
                    if what == "after closing" {
                        memory.half(CONTROL[0] + CLOSED).store(1, SeqCst);
                    }
                    for _ in 0..5 {
                        for_a_while(|| {
                            // Without room it is tried again.
                            let _ = match what {
                                "calls" => {
                                    let call = Message::call(7, "echo", b"\x03abc");
                                    writer.message(&call.encode())
                                }
                                "fragments" => writer.frame(&[1; 15], 120, MORE),
                                "aborts" => writer.frame(&[], 0, ABORT),
                                _ => writer.message(&Message::event("text", b"\x03abc").encode()),
                            };
                        });
                        ward.look();
                    }
                });
            }
        });
    });
}

/// What is not read cannot do harm, and what it holds open is closed with the socket.
#[test]
fn a_socket_full_of_descriptors() {
    within(LIMIT, || {
        alone!({
            let null = File::open("/dev/null").unwrap();
            let code = attack(&hello(), |ward, memory| {
                // One that has not attached would be refused.
                begun(memory);
                while ward
                    .lifeline
                    .as_ref()
                    .unwrap()
                    .send(b"take this", &[null.as_raw_fd(); 200])
                    .is_ok()
                {}
                thread::sleep(Duration::from_millis(30));
                let held = descriptors(ward.child.id());
                assert!(
                    !held.iter().any(|open| open.contains("/dev/null") && held.len() > 20),
                    "{held:?}"
                );
            });
            assert_eq!(code, DISCONNECTED);
        });
    });
}
