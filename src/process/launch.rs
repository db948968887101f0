//! Starting a worker: segment, socket pair, process, handshake.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coprocess_ring::{ABI_VERSION, Region, Side};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::fstat;

use crate::coprocess::Coprocess;
use crate::end::{End, Terms};
use crate::error::{Error, ForkError, Result};
use crate::process::handshake::{Answer, Hello, receive_verdict};
use crate::process::worker::Worker;
use crate::process::{LIFELINE_VARIABLE, Role, pidfd, watcher};

/// What to start, and how.
pub(crate) struct Launch {
    pub(crate) command: Command,
    pub(crate) role: Role,
    pub(crate) capacity: usize,
    pub(crate) terms: Terms,
    pub(crate) fork_timeout: Duration,
}

impl Launch {
    /// Starts the worker and waits until it has attached.
    pub(crate) fn start(self) -> Result<Coprocess> {
        let program = self.command.get_program().to_string_lossy().into_owned();
        self.try_start().map_err(|cause| Error::Fork { program, cause })
    }

    fn try_start(mut self) -> std::result::Result<Coprocess, ForkError> {
        let deadline = Instant::now().checked_add(self.fork_timeout);
        let (region, segment) = Region::create(self.capacity).map_err(|e| match e {
            coprocess_ring::SegmentError::Os { action, source } => ForkError::Setup { action, source },
            other => ForkError::Handshake(other.to_string()),
        })?;
        let (lifeline, theirs) = socket_pair().map_err(setup("make a socket pair"))?;
        let function = match self.role {
            Role::Function(distance) => distance,
            Role::Program => 0,
        };
        Hello::new(region.capacity(), &self.terms, function)
            .send(lifeline.as_fd(), segment.as_fd())
            .map_err(setup("send the segment through the socket pair"))?;
        drop(segment);

        let child = self.execute(&theirs)?;
        drop(theirs);
        let mut unattached = Unattached(Some(child));
        let child = unattached.0.as_mut().map_or(0, |c| c.id());
        let pidfd = pidfd::open(child).and_then(above_the_streams).map_err(|error| match error.raw_os_error() {
            // ESRCH: it has ended already, and this program ignores SIGCHLD or waits for any child.
            Some(libc::ESRCH) => {
                ForkError::Handshake("it ended before it attached, and its exit status was taken by somebody else".to_owned())
            }
            _ => setup("open a descriptor for the worker process")(error),
        })?;
        self.handshake(&lifeline, &pidfd, &mut unattached, deadline)?;

        let end = End::new(&region, Side::Parent, child, self.terms);
        let Some(child) = unattached.0.take() else { return Err(ForkError::Handshake("the worker is gone".to_owned())) };
        let worker = Arc::new(Worker::new(child, pidfd, lifeline, self.terms.close_timeout));
        end.set_worker(worker.clone());
        let co = Coprocess::new(end);
        if let Err(source) = watcher::watch_worker(co.end(), &worker) {
            // Nobody would ever reap it.
            if worker.kill().is_ok() {
                while worker.reap(true, |_, _| {}).is_none() {}
            }
            return Err(ForkError::Setup { action: "start the process watcher", source });
        }
        Ok(co)
    }

    /// Executes the program, which inherits its end of the socket pair and nothing else of ours.
    fn execute(&mut self, theirs: &OwnedFd) -> std::result::Result<Child, ForkError> {
        // The inode tells the socket from whatever may later have the same number in a process that inherits the variable only.
        let inode = fstat(theirs).map_err(io::Error::from).map_err(setup("look at the socket pair"))?.st_ino;
        let fd = theirs.as_raw_fd();
        self.command.env(LIFELINE_VARIABLE, format!("{}:{fd}:{inode}:{}", self.role.name(), std::process::id()));
        let inherit = move || {
            // SAFETY: the descriptor is open in the child, as a copy of `theirs`, which outlives `spawn` below.
            let theirs = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            fcntl(theirs, FcntlArg::F_SETFD(FdFlag::empty())).map(drop).map_err(io::Error::from)
        };
        // SAFETY: runs between fork and exec; it makes one system call and neither allocates nor takes a lock.
        unsafe { self.command.pre_exec(inherit) };
        self.command.spawn().map_err(ForkError::Exec)
    }

    fn handshake(
        &self,
        lifeline: &OwnedFd,
        pidfd: &OwnedFd,
        unattached: &mut Unattached,
        deadline: Option<Instant>,
    ) -> std::result::Result<(), ForkError> {
        // Once the worker has closed its end of the socket, only its own end, or the clock, can tell more.
        let mut listening = true;
        loop {
            let timeout = deadline.map_or(PollTimeout::NONE, |at| {
                let left = at.saturating_duration_since(Instant::now());
                // Rounded up to the next millisecond.
                PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN), PollFd::new(lifeline.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds[..1 + usize::from(listening)], timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(e) => return Err(setup("wait for the worker")(e.into())),
            }
            let [ended, said] = fds.map(|fd| fd.any().unwrap_or(false));
            if said {
                match receive_verdict(lifeline.as_fd()) {
                    Ok(Some(Answer::Attached)) => return Ok(()),
                    Ok(Some(Answer::OtherAbi(theirs))) => return Err(ForkError::AbiMismatch { ours: ABI_VERSION, theirs }),
                    Ok(Some(Answer::Refused(reason))) => return Err(ForkError::Handshake(reason)),
                    Ok(None) => listening = false,
                    // It ended, or closed the socket, without having read the hello.
                    Err(e) if e.kind() == io::ErrorKind::ConnectionReset => listening = false,
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    Err(e) => return Err(setup("read the worker's answer")(e)),
                }
            } else if ended {
                return Err(unattached.status());
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                return Err(ForkError::NeverAttached(self.fork_timeout));
            }
        }
    }
}

/// A child that is killed and reaped unless it attaches.
struct Unattached(Option<Child>);

impl Unattached {
    /// How it ended.
    fn status(&mut self) -> ForkError {
        match self.0.as_mut().map(Child::wait) {
            Some(Ok(status)) => ForkError::Ended(status),
            Some(Err(source)) => ForkError::Setup { action: "learn how the worker ended", source },
            None => ForkError::Handshake("the worker is gone".to_owned()),
        }
    }
}

impl Drop for Unattached {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Both fail only if it is dead and reaped already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn setup(action: &'static str) -> impl Fn(io::Error) -> ForkError {
    move |source| ForkError::Setup { action, source }
}

/// Two ends, close-on-exec, neither of them where a process has its standard streams.
fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((above_the_streams(ours)?, above_the_streams(theirs)?))
}

/// Moves a descriptor away from where a program without standard streams would print to it.
fn above_the_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    let higher = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(higher) })
}
