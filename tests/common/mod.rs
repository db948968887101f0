//! What the integration tests share: deadlines that fail loudly, sacrificial processes, and what a
//! process holds.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses a part of this")]

pub(crate) mod meant;
mod random;

use std::env;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::{Duration, Instant};

use coprocess::{Builder, Coprocess, Reply};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

pub(crate) use random::{Random, rounds, seed};

/// The longest that any test takes, even on one loaded CPU.
pub(crate) const LIMIT: Duration = Duration::from_secs(100);

/// "At once", for a test on a loaded machine: far above any scheduling delay, far below any other
/// limit.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(4);

/// The smallest ring that the contract promises to work with everything.
pub(crate) const SMALL_RING: usize = 4096;

/// Runs `body` in a thread of its own and fails if it has not returned within `limit`.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    *within_any(limit, Box::new(|| Box::new(body()))).downcast().expect("the body returns this")
}

/// What a body returns, whatever its type.
type Any = Box<dyn std::any::Any + Send>;

/// Does what [`within`] does. Compiled once for a binary, and not once for each test, since a thread
/// and a channel of a type of their own take the compiler longer than most tests.
#[track_caller]
fn within_any(limit: Duration, body: Box<dyn FnOnce() -> Any + Send>) -> Any {
    let (done, result) = mpsc::channel();
    let name = thread::current().name().unwrap_or("test").to_owned();
    let runner = thread::Builder::new().name(name).spawn(move || done.send(body())).unwrap();
    match result.recv_timeout(limit) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => {
            panic!("the test is not over after {limit:?}:\n{}", doings(process::id()))
        }
        Err(RecvTimeoutError::Disconnected) => match runner.join() {
            Err(panic) => panic::resume_unwind(panic),
            Ok(_) => unreachable!("the body sends unless it panics"),
        },
    }
}

/// Waits until `condition` holds, and fails if it never does. For what only looking can tell: the
/// state of another process, a counter.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT / 4;
    while !condition() {
        assert!(Instant::now() < deadline, "still not true: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `body` and fails if it took longer than [`AT_ONCE`].
#[track_caller]
pub(crate) fn at_once<T>(body: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = body();
    let took = start.elapsed();
    assert!(took < AT_ONCE, "took {took:?}");
    value
}

/// Waits for a future on this thread, without a runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Returns the processor time that this process has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// Fails if this process uses processor time, although it has nothing to do.
#[track_caller]
pub(crate) fn nothing_spins() {
    let before = cpu_time();
    thread::sleep(Duration::from_millis(300));
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(60), "{used:?} of processor time in 300 ms");
}

/// Asserts that a value matches a pattern, and prints the value if it does not.
macro_rules! assert_matches {
    ($value:expr, $($pattern:tt)+) => {
        match $value {
            $($pattern)+ => {}
            ref other => panic!("got {other:?}, expected {}", stringify!($($pattern)+)),
        }
    };
}
pub(crate) use assert_matches;

/// Makes pairs whose worker has all the time of a test to end by itself, however busy the machine
/// is. For tests that look at how a worker ends.
pub(crate) fn patient() -> Builder {
    Builder::new().close_timeout(LIMIT / 2)
}

/// Runs a block in a process of its own, where no other test disturbs counts. A panic of the block
/// is a panic of the test.
macro_rules! alone {
    ($body:block) => {
        $crate::common::alone!($crate::common::LIMIT, $body)
    };
    ($limit:expr, $body:block) => {
        $crate::common::run_alone($limit, |parent| {
            $crate::common::serve_test(&parent, || -> () { $body })
        })
    };
}
pub(crate) use alone;

/// Serves the block of [`alone!`].
pub(crate) fn serve_test(parent: &Coprocess, block: fn()) {
    parent.serve("test", move |(): ()| block());
}

/// Runs what a worker function serves by [`serve_test`].
#[track_caller]
pub(crate) fn run_alone(limit: Duration, function: fn(Coprocess)) {
    // The process may take its time to end. On a busy machine, too, it is not told to end in the
    // midst of it.
    let process = patient().fork(function).unwrap();
    let ended = process.call_timeout::<()>("test", (), limit);
    if ended.is_err() {
        // The process may hang, and would go on to hang for as long as it has to close.
        drop(process.kill());
    }
    match ended {
        Ok(()) => {}
        // The text of the error would have only some of the lines of the message.
        Err(coprocess::Error::Remote { message, .. }) => panic!("{message}"),
        Err(other) => panic!("{other:?}"),
    }
    assert!(process.close().unwrap().unwrap().success());
}

/// Listens to `event`, and returns a channel of its values.
pub(crate) fn inbox<T: DeserializeOwned + Send + 'static>(
    end: &Coprocess,
    event: &str,
) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    end.listen(event, move |value: T| drop(sender.send(value)));
    receiver
}

/// Returns the next value of an [`inbox`], and fails if none arrives.
#[track_caller]
pub(crate) fn next<T>(inbox: &Receiver<T>) -> T {
    inbox.recv_timeout(LIMIT / 2).expect("no event arrived")
}

/// Calls that wait for an answer, with their arguments.
pub(crate) type Unanswered = Arc<Mutex<Vec<(u64, Reply<u64>)>>>;

/// Serves `later`, whose calls wait for a call or an event `now`. Then each call is answered with
/// twice its argument, the last one first. The call `now` returns how many there were.
pub(crate) fn serve_later(end: &Coprocess) {
    let unanswered = Unanswered::default();
    let hold = unanswered.clone();
    end.serve_deferred("later", move |x: u64, reply: Reply<u64>| {
        hold.lock().unwrap().push((x, reply));
    });
    let answer = move || {
        let calls = std::mem::take(&mut *unanswered.lock().unwrap());
        let count = calls.len();
        for (x, reply) in calls.into_iter().rev() {
            reply.send(x * 2).unwrap();
        }
        count
    };
    let event = answer.clone();
    end.listen("now", move |()| {
        event();
    });
    end.serve("now", move |()| answer());
}

/// Forks a worker that serves the methods of [`serve_later`] and `double`, and exits on the event
/// `exit`.
pub(crate) fn later_worker() -> Coprocess {
    coprocess::fork(|parent| {
        serve_later(&parent);
        parent.serve("double", |x: u64| x * 2);
        parent.listen("exit", |code: i32| std::process::exit(code));
    })
    .unwrap()
}

/// Returns `size` bytes that differ by position and by `seed`.
pub(crate) fn pattern(seed: usize, size: usize) -> Vec<u8> {
    // Computed once: a debug build would spend most of a test on it. The length is a prime number,
    // so that the repetition falls on no boundary of the ring.
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        (0..65_521_u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
    });
    let mut bytes = Vec::with_capacity(size);
    let mut from = seed.wrapping_mul(101) % table.len();
    while bytes.len() < size {
        let part = &table[from..];
        bytes.extend_from_slice(&part[..part.len().min(size - bytes.len())]);
        from = 0;
    }
    bytes
}

/// Returns a path that no other test uses, where nothing is yet.
pub(crate) fn fresh_path(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("coprocess-{}-{number}-{name}", process::id()));
    drop(fs::remove_file(&path));
    path
}

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

/// What a process holds that a pair must give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) descriptors: usize,
    pub(crate) mappings: usize,
    pub(crate) children: usize,
    pub(crate) threads: usize,
}

impl Held {
    pub(crate) fn now() -> Held {
        let pid = process::id();
        Held {
            descriptors: descriptors(pid).len(),
            mappings: memfd_mappings(pid),
            children: children(pid).len(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
        }
    }

    /// Returns what the process holds, once that no longer changes.
    pub(crate) fn settled() -> Held {
        let mut last = Held::now();
        let mut same = 0;
        while same < 20 {
            thread::sleep(Duration::from_millis(5));
            let now = Held::now();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// Waits until the process holds this again. Threads and kernel objects of an ended pair go in
    /// their own time.
    #[track_caller]
    pub(crate) fn again(&self, after: &str) {
        let mut now = Held::now();
        let deadline = Instant::now() + AT_ONCE;
        while now != *self {
            assert!(
                Instant::now() < deadline,
                "left over after {after}: {now:?}, before: {self:?}, open: {:?}\n{}",
                descriptors(process::id()),
                doings(process::id())
            );
            thread::sleep(Duration::from_millis(1));
            now = Held::now();
        }
    }
}

/// Returns what the open descriptors of a process point to, without the one that lists them.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    let directory = format!("/proc/{pid}/fd");
    fs::read_dir(&directory)
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| *target != directory)
        .collect()
}

/// Returns how many mappings of shared memory of pairs a process has.
pub(crate) fn memfd_mappings(pid: u32) -> usize {
    fs::read_to_string(format!("/proc/{pid}/maps"))
        .unwrap()
        .lines()
        .filter(|line| is_shared_memory(line))
        .count()
}

/// Returns the children of a process, zombies included.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid))
        .collect()
}

/// Returns the state letter and the parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

/// Describes what the threads of a process do, and those of all processes below it, for a report
/// that something is not over.
pub(crate) fn doings(pid: u32) -> String {
    let task = |task: PathBuf| {
        let read =
            |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default().trim().to_owned();
        let stat = read("stat");
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().collect();
        let field = |at: usize| *fields.get(at).unwrap_or(&"?");
        let id = task.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (comm, wchan) = (read("comm"), read("wchan"));
        format!(
            "  {id} {comm}: {}, has run {}+{} ticks, in {wchan}\n",
            field(0),
            field(11),
            field(12)
        )
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let tasks: String = tasks.filter_map(|entry| Some(task(entry.ok()?.path()))).collect();
    let below: String = children(pid).into_iter().map(doings).collect();
    format!("process {pid}\n{tasks}{below}")
}

/// Sends a signal to the peer.
pub(crate) fn signal(co: &Coprocess, signal: Signal) {
    kill(Pid::from_raw(co.peer_id().cast_signed()), signal).unwrap();
}

/// Keeps the peer stopped. The drop of this guard continues the peer.
pub(crate) struct Stopped<'a>(&'a Coprocess);

impl<'a> Stopped<'a> {
    pub(crate) fn new(co: &'a Coprocess) -> Stopped<'a> {
        signal(co, Signal::SIGSTOP);
        eventually("it is stopped", || state(co.peer_id()) == Some('T'));
        Stopped(co)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = kill(Pid::from_raw(self.0.peer_id().cast_signed()), Signal::SIGCONT);
    }
}

/// Returns the state letter of a process, if the process exists.
pub(crate) fn state(pid: u32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// Returns `true` if every thread of a process sleeps: none runs, and none would if it got a
/// processor.
pub(crate) fn all_sleep(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .all(|task| state(task) == Some('S'))
}

/// Returns `true` if a process runs no more. An orphan may stay a zombie: which process reaps it is
/// not for this library to choose.
pub(crate) fn is_gone(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

/// Returns how often the threads of a process went to sleep by themselves.
pub(crate) fn voluntary_switches(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
        .map(|status| number_after(&status, "voluntary_ctxt_switches:"))
        .sum()
}

/// Returns for how long a thread, `/proc/.../task/...`, could have run and had no processor, since
/// its start.
pub(crate) fn starved(task: impl AsRef<Path>) -> Option<Duration> {
    let times = fs::read_to_string(task.as_ref().join("schedstat")).ok()?;
    Some(Duration::from_nanos(times.split_whitespace().nth(1)?.parse().ok()?))
}

/// Returns the memory in use that is this process's own, in KiB.
pub(crate) fn resident_kib() -> u64 {
    number_after(&fs::read_to_string("/proc/self/status").unwrap(), "RssAnon:")
}

/// Returns the most memory that this process ever had in use, in KiB.
pub(crate) fn peak_kib() -> u64 {
    number_after(&fs::read_to_string("/proc/self/status").unwrap(), "VmHWM:")
}

/// Returns the size of the address space of this process, in KiB.
pub(crate) fn virtual_kib() -> u64 {
    number_after(&fs::read_to_string("/proc/self/status").unwrap(), "VmSize:")
}

fn number_after(status: &str, key: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number after {key}"))
}

/// Writes a file in one step, as a signal to a process that cannot be reached otherwise.
pub(crate) fn touch(path: &Path) {
    fs::write(path, "").unwrap();
}

/// Returns `true` if a line of a table of mappings, or the target of a descriptor, is the memory of
/// a pair, of whichever backend.
pub(crate) fn is_shared_memory(text: &str) -> bool {
    text.contains("/memfd:coprocess") || text.contains("/dev/shm/coprocess-")
}

/// Overwrites this process's shared memory, as a worker gone wild might: every byte from `from` on,
/// a fraction of the whole. `byte` makes the new value of a byte from its position and its present
/// value.
pub(crate) fn scribble(from: f64, byte: impl Fn(usize, u8) -> u8) {
    use std::os::unix::fs::FileExt;

    let memory = fs::OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut count = 0;
    for line in maps.lines().filter(|line| is_shared_memory(line)) {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next().unwrap().split_once('-').unwrap();
        if !fields.next().unwrap().contains('w') {
            continue;
        }
        let start = u64::from_str_radix(start, 16).unwrap();
        let size = u64::from_str_radix(end, 16).unwrap() - start;
        // Whole words are spared.
        let spared = (size as f64 * from) as u64 & !7;
        let mut bytes = vec![0; (size - spared) as usize];
        memory.read_exact_at(&mut bytes, start + spared).unwrap();
        for (at, value) in bytes.iter_mut().enumerate() {
            *value = byte(at, *value);
        }
        memory.write_all_at(&bytes, start + spared).unwrap();
        count += 1;
    }
    assert_ne!(count, 0, "no shared memory found in {maps}");
}

/// Checks the text of an error: one lower-case line without a full stop, which contains `says`.
#[track_caller]
pub(crate) fn check_error(error: &coprocess::Error, says: &str) {
    let text = error.to_string();
    assert!(text.contains(says), "{text:?} does not say {says:?}");
    assert!(!text.contains('\n'), "{text:?} has more than one line");
    assert!(!text.ends_with('.'), "{text:?} ends with a full stop");
    let first = text.chars().next().unwrap();
    assert!(!first.is_uppercase(), "{text:?} starts with a capital");
    assert_ne!(format!("{error:?}"), "");
}
