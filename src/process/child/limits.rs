//! What a worker may use at most: limits of the system on its process, set before it hears of its function.

use std::fmt;
use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::Reason;

/// What a worker process may use at most: for [`Builder::limits`](crate::Builder::limits).
///
/// These are the resource limits of the system (`setrlimit(2)`), soft and hard alike, of the worker process; what it starts inherits them. What is not set
/// here is inherited from the parent. The parent sets them right after the start, before a worker of [`fork`](crate::fork) hears of its function.
/// A program of [`spawn`](crate::spawn) may have run its first instructions by then.
///
/// Raising a limit above the parent's hard limit takes privileges: without them the start fails with [`Error::Fork`](crate::Error::Fork), and nothing is left over.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let limits = coprocess::Limits::new().memory(1 << 30).cpu_time(Duration::from_secs(10)).core(0);
/// let builder = coprocess::Builder::new().limits(limits);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "limits do nothing until a builder has them"]
pub struct Limits {
    memory: Option<u64>,
    cpu_time: Option<Duration>,
    open_files: Option<u64>,
    processes: Option<u64>,
    file_size: Option<u64>,
    core: Option<u64>,
}

/// Which limit: one of [`Limits`].
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess::Limit::CpuTime.to_string(), "processor time");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::cpu_time`].
    CpuTime,
    /// [`Limits::open_files`].
    OpenFiles,
    /// [`Limits::processes`].
    Processes,
    /// [`Limits::file_size`].
    FileSize,
    /// [`Limits::core`].
    Core,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Memory => "memory",
            Limit::CpuTime => "processor time",
            Limit::OpenFiles => "open files",
            Limit::Processes => "processes",
            Limit::FileSize => "file size",
            Limit::Core => "core dumps",
        })
    }
}

impl Limits {
    /// No limits but those that are inherited.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(coprocess::Limits::new(), coprocess::Limits::default());
    /// ```
    pub fn new() -> Limits {
        Limits::default()
    }

    /// The address space, in bytes (`RLIMIT_AS`): all that is mapped, whether or not it is used. That includes the program itself, the
    /// stacks of all threads, and the shared memory of the pair.
    ///
    /// Beyond it an allocation fails. That aborts a Rust program. Where the standard library has given up
    /// on the allocation, the end is told as [`Reason::LimitExceeded`], otherwise, as in code of C and with
    /// musl, as [`Reason::Killed`].
    ///
    /// # Examples
    ///
    /// ```
    /// let limits = coprocess::Limits::new().memory(1 << 30);
    /// ```
    pub fn memory(mut self, bytes: u64) -> Limits {
        self.memory = Some(bytes);
        self
    }

    /// The processor time of all its threads together, in whole seconds, rounded up; at least one (`RLIMIT_CPU`).
    ///
    /// Then the worker gets SIGXCPU, which ends it: [`Reason::LimitExceeded`]. If it catches that, it gets SIGKILL after one second more of it: [`Reason::Killed`].
    ///
    /// # Examples
    ///
    /// ```
    /// let limits = coprocess::Limits::new().cpu_time(std::time::Duration::from_secs(10));
    /// ```
    pub fn cpu_time(mut self, time: Duration) -> Limits {
        self.cpu_time = Some(time);
        self
    }

    /// One more than the highest number of a descriptor (`RLIMIT_NOFILE`). Beyond it opening fails; this ends no process.
    ///
    /// # Examples
    ///
    /// ```
    /// let limits = coprocess::Limits::new().open_files(64);
    /// ```
    pub fn open_files(mut self, number: u64) -> Limits {
        self.open_files = Some(number);
        self
    }

    /// Processes and threads of the worker's *user*, all of them on the host, whatever started them (`RLIMIT_NPROC`).
    ///
    /// Beyond it the worker can start none; this ends no process. It does not hold for root. The library, too, needs a thread or two in the worker.
    ///
    /// # Examples
    ///
    /// ```
    /// let limits = coprocess::Limits::new().processes(500);
    /// ```
    pub fn processes(mut self, number: u64) -> Limits {
        self.processes = Some(number);
        self
    }

    /// The size of a file that is written to, in bytes (`RLIMIT_FSIZE`).
    ///
    /// Beyond it the worker gets SIGXFSZ, which ends it: [`Reason::LimitExceeded`].
    ///
    /// # Examples
    ///
    /// ```
    /// let limits = coprocess::Limits::new().file_size(1 << 20);
    /// ```
    pub fn file_size(mut self, bytes: u64) -> Limits {
        self.file_size = Some(bytes);
        self
    }

    /// The size of a core dump, in bytes; zero: none (`RLIMIT_CORE`).
    ///
    /// # Examples
    ///
    /// ```
    /// let limits = coprocess::Limits::new().core(0);
    /// ```
    pub fn core(mut self, bytes: u64) -> Limits {
        self.core = Some(bytes);
        self
    }

    /// Whether there is a limit on memory.
    pub(crate) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Sets them on a child that was not reaped yet.
    pub(crate) fn set(&self, child: u32) -> io::Result<()> {
        let child = libc::pid_t::try_from(child).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
        let plain = [
            (libc::RLIMIT_AS, self.memory),
            (libc::RLIMIT_NOFILE, self.open_files),
            (libc::RLIMIT_NPROC, self.processes),
            (libc::RLIMIT_FSIZE, self.file_size),
            (libc::RLIMIT_CORE, self.core),
        ];
        for (resource, value) in plain {
            if let Some(value) = value {
                set_one(child, resource, value, value)?;
            }
        }
        if let Some(time) = self.cpu_time {
            let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1);
            // The hard limit may be just as high as the soft one: then that is what it stays.
            let hard = if hard_limit(child, libc::RLIMIT_CPU)? == number(seconds) { seconds } else { seconds.saturating_add(1) };
            set_one(child, libc::RLIMIT_CPU, seconds, hard)?;
        }
        Ok(())
    }

    /// The reason, or the limit that the worker died of, if that is certain. `said` is the worker's word that an allocation has failed.
    pub(crate) fn explain(&self, reason: Reason, said_out_of_memory: bool) -> Reason {
        let Reason::Killed(signal) = reason else { return reason };
        if signal == Signal::SIGXCPU as i32 && self.cpu_time.is_some() {
            Reason::LimitExceeded(Limit::CpuTime)
        } else if signal == Signal::SIGXFSZ as i32 && self.file_size.is_some() {
            Reason::LimitExceeded(Limit::FileSize)
        } else if signal == Signal::SIGABRT as i32 && self.memory.is_some() && said_out_of_memory {
            Reason::LimitExceeded(Limit::Memory)
        } else {
            reason
        }
    }
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// As the system has it.
fn number(value: u64) -> libc::rlim_t {
    libc::rlim_t::try_from(value).unwrap_or(libc::RLIM_INFINITY)
}

fn set_one(child: libc::pid_t, resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let [rlim_cur, rlim_max] = [soft, hard].map(number);
    let new = libc::rlimit { rlim_cur, rlim_max };
    // SAFETY: the kernel reads `new`, which outlives the call, and writes nothing.
    match unsafe { libc::prlimit(child, resource, &new, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn hard_limit(child: libc::pid_t, resource: Resource) -> io::Result<libc::rlim_t> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to `old`, which outlives the call, and reads nothing.
    match unsafe { libc::prlimit(child, resource, std::ptr::null(), &mut old) } {
        0 => Ok(old.rlim_max),
        _ => Err(io::Error::last_os_error()),
    }
}
