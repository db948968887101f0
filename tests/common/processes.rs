//! What a process holds and does, and what is done to a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use coprocess::Coprocess;
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::{AT_ONCE, eventually};

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
