//! Limits of the system on a worker process, set before the worker gets the hello.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::{Limit, Reason};

/// Limits what a worker process may use: for [`Builder::limits`](crate::Builder::limits).
///
/// These are resource limits of the system (`setrlimit(2)`), soft and hard alike. They hold for the
/// worker process, and processes that the worker starts inherit them. A limit that is not set here
/// is inherited from the parent.
///
/// The parent sets the limits right after it has started the worker. A worker of
/// [`fork`](crate::fork) learns only afterwards which function to run. A program of
/// [`spawn`](crate::spawn) may have run its first instructions by then.
///
/// Raising a limit above the parent's hard limit takes privileges. Without them, the start fails
/// with [`Error::Fork`](crate::Error::Fork), and nothing is left behind.
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

impl Limits {
    /// Makes a value without limits: the worker inherits those of the parent.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(coprocess::Limits::new(), coprocess::Limits::default());
    /// ```
    pub fn new() -> Limits {
        Limits::default()
    }

    /// Limits the address space, in bytes (`RLIMIT_AS`): all mapped memory, used or not.
    ///
    /// That includes the program itself, the stacks of all threads, and the shared memory of the
    /// pair.
    ///
    /// Beyond the limit, allocations fail, which aborts a Rust program. If the standard library has
    /// given up on the allocation, the parent gets [`Reason::LimitExceeded`]. Otherwise, as in C
    /// code and with musl, the parent gets [`Reason::Killed`].
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

    /// Limits the processor time of all threads together (`RLIMIT_CPU`).
    ///
    /// The time is rounded up to whole seconds, at least one.
    ///
    /// At the limit, the worker gets SIGXCPU, which ends it: [`Reason::LimitExceeded`]. If the
    /// worker catches SIGXCPU, it gets SIGKILL after one more second of processor time:
    /// [`Reason::Killed`].
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

    /// Limits the numbers of descriptors, which stay below this one (`RLIMIT_NOFILE`).
    ///
    /// At the limit, opening files fails. The worker does not end.
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

    /// Limits the processes and threads of the worker's *user* (`RLIMIT_NPROC`).
    ///
    /// All processes of that user on the host count, whatever has started them. At the limit, the
    /// worker can start no process or thread. The worker does not end. The limit does not hold for
    /// root.
    ///
    /// The library itself needs one or two threads in the worker.
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

    /// Limits the size of files that the worker writes, in bytes (`RLIMIT_FSIZE`).
    ///
    /// Beyond the limit, the worker gets SIGXFSZ, which ends it: [`Reason::LimitExceeded`].
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

    /// Limits the size of a core dump, in bytes (`RLIMIT_CORE`). Zero: no core dump is written.
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

    /// Returns `true` if there is a limit on memory.
    pub(crate) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Sets the limits on a child that was not reaped yet.
    pub(crate) fn set(&self, child: u32) -> io::Result<()> {
        let child =
            libc::pid_t::try_from(child).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
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
            // One second above the soft limit, unless the present hard limit equals the soft one:
            // raising that would take privileges.
            let hard = if hard_limit(child, libc::RLIMIT_CPU)? == number(seconds) {
                seconds
            } else {
                seconds.saturating_add(1)
            };
            set_one(child, libc::RLIMIT_CPU, seconds, hard)?;
        }
        Ok(())
    }

    /// Returns the limit that the worker has died of, if that is certain, and otherwise `reason`.
    ///
    /// `said_out_of_memory`: the worker has reported that an allocation failed.
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

/// Converts a limit to the type of the system.
fn number(value: u64) -> libc::rlim_t {
    libc::rlim_t::try_from(value).unwrap_or(libc::RLIM_INFINITY)
}

/// Sets one limit of a child.
fn set_one(child: libc::pid_t, resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let [rlim_cur, rlim_max] = [soft, hard].map(number);
    let new = libc::rlimit { rlim_cur, rlim_max };
    // SAFETY: the kernel reads `new`, which outlives the call, and writes nothing.
    match unsafe { libc::prlimit(child, resource, &new, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns the hard limit that a child has now.
fn hard_limit(child: libc::pid_t, resource: Resource) -> io::Result<libc::rlim_t> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to `old`, which outlives the call, and reads nothing.
    match unsafe { libc::prlimit(child, resource, std::ptr::null(), &mut old) } {
        0 => Ok(old.rlim_max),
        _ => Err(io::Error::last_os_error()),
    }
}
