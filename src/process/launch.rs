//! Starting a worker: socket pair, process, segment, handshake.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coprocess_ring::{ABI_VERSION, Backend, Segment, SegmentError, Side, Wakeup};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::unistd::Pid;

use crate::coprocess::Coprocess;
use crate::end::{End, Terms};
use crate::error::{Error, ForkError, Result};
use crate::process::arguments::send_piece;
use crate::process::child::Child;
use crate::process::descriptor::Descriptor;
use crate::process::execute::Program;
use crate::process::handshake::{Answer, Hello, receive_verdict, send_claim};
use crate::process::limits::Limits;
use crate::process::mark::Nonce;
use crate::process::output::{Captured, Output};
use crate::process::terminal::TerminalSignals;
use crate::process::worker::{Worker, soon};
use crate::process::{above_streams, pidfd, watcher};

/// What to start, and how.
pub(crate) struct Launch {
    pub(crate) program: Program,
    pub(crate) capacity: usize,
    pub(crate) backend: Backend,
    pub(crate) wakeup: Wakeup,
    pub(crate) terms: Terms,
    pub(crate) terminal_signals: TerminalSignals,
    pub(crate) fork_timeout: Duration,
    /// Standard output, and standard error.
    pub(crate) outputs: [Output; 2],
    pub(crate) limits: Limits,
}

impl Launch {
    /// Starts the worker and waits until it has attached.
    pub(crate) fn start(self) -> Result<Coprocess> {
        let program = self.program.name().to_string_lossy().into_owned();
        self.try_start().map_err(|cause| Error::Fork { program, cause })
    }

    fn try_start(mut self) -> std::result::Result<Coprocess, ForkError> {
        // Before anything runs: no worker will ever attach to what cannot be made.
        Segment::check(self.backend, self.wakeup).map_err(no_segment)?;
        let deadline = Instant::now().checked_add(self.fork_timeout);
        let (lifeline, theirs) = socket_pair().map_err(ForkError::setup("make a socket pair"))?;
        let nonce = Nonce::new();
        send_claim(lifeline.as_fd(), nonce).map_err(ForkError::setup("send through the socket pair"))?;
        let [stdout, stderr] = &self.outputs;
        let (captured, streams) = Captured::new([stdout, stderr]).map_err(ForkError::setup("capture the worker's output"))?;
        // Before the segment is made: the kernel and the dynamic linker are busy with the new process for longer than the rest takes.
        let started = self.program.execute(theirs.as_fd(), nonce, streams)?;
        drop(theirs);
        let process = take_charge(started.id)?;
        let worker = Worker::new(started.child, process, lifeline, self.terms.close_timeout, self.limits, captured);
        self.attach(started.id, Unattached { worker: Arc::new(worker), attached: false }, deadline)
    }

    fn attach(&self, id: u32, mut unattached: Unattached, deadline: Option<Instant>) -> std::result::Result<Coprocess, ForkError> {
        let worker = &unattached.worker;
        // Before it hears what it is to do. The process is a child that was not reaped: the number is its own.
        self.limits.set(id).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => status_taken(),
            _ => ForkError::setup("set the limits of the worker process")(error),
        })?;
        let (region, segment) = Segment::create(self.backend, self.wakeup, self.capacity).map_err(no_segment)?;
        let function = self.program.function().unwrap_or(0);
        let hello = Hello::new(region.capacity(), &segment, &self.terms, self.terminal_signals, function)
            .with(self.program.arguments(), self.limits.limits_memory());
        let attached = worker.with_descriptors(|process, lifeline| {
            region.set_peer_liveness(Some(process), lifeline).map_err(ForkError::setup("copy the descriptor of the worker process"))?;
            match hello.send(lifeline, &segment) {
                // It has closed the socket, or ended, with or without having read the claim: the handshake finds out which.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
                sent => sent.map_err(ForkError::setup("send the segment through the socket pair"))?,
            }
            self.handshake(lifeline, process, deadline)
        });
        let attached = attached.map_err(ForkError::setup("wait for the worker"))?;
        if !attached.unwrap_or(Ok(false))? {
            return Err(match worker.reap_soon() {
                Some(Some(status)) => ForkError::Ended(status),
                Some(None) => status_taken(),
                None => ForkError::Handshake("it ended before it attached, and a debugger keeps its exit status".to_owned()),
            });
        }
        segment.attached(&region).map_err(no_segment)?;
        let end = End::new(&region, Side::Parent, id, self.terms);
        end.set_worker(worker.clone());
        let co = Coprocess::new(end);
        watcher::watch_worker(co.end(), worker).map_err(ForkError::setup("start the process watcher"))?;
        unattached.attached = true;
        Ok(co)
    }

    /// Waits for what the worker says. Returns false if it has ended.
    fn handshake(
        &self,
        lifeline: BorrowedFd<'_>,
        process: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> std::result::Result<bool, ForkError> {
        // Once the worker has closed its end of the socket, only its own end, or the clock, can tell more.
        let mut listening = true;
        let mut unsent = self.program.arguments().map_or(&[][..], |arguments| &arguments.bytes);
        loop {
            let timeout = deadline.map_or(PollTimeout::NONE, |at| {
                let left = at.saturating_duration_since(Instant::now());
                // Rounded up to the next millisecond.
                PollTimeout::try_from(left.saturating_add(Duration::from_micros(999))).unwrap_or(PollTimeout::MAX)
            });
            let interest = if unsent.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT };
            let mut fds = [PollFd::new(process, PollFlags::POLLIN), PollFd::new(lifeline, interest)];
            let watched = if listening { &mut fds[..] } else { fds.split_at_mut(1).0 };
            match poll(watched, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(e) => return Err(ForkError::setup("wait for the worker")(e.into())),
            }
            let [ended, happened] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
            let (ended, said) = (!ended.is_empty(), happened.intersects(!PollFlags::POLLOUT));
            let has_room = happened.contains(PollFlags::POLLOUT);
            if !said && has_room {
                unsent = send_piece(lifeline, unsent).map_err(ForkError::setup("send the arguments of the worker function"))?;
            }
            if said {
                match receive_verdict(lifeline) {
                    Ok(Some(Answer::Attached)) => return Ok(true),
                    Ok(Some(Answer::OtherAbi(theirs))) => return Err(ForkError::AbiMismatch { ours: ABI_VERSION, theirs }),
                    Ok(Some(Answer::Secure)) => return Err(ForkError::SecureExecution),
                    Ok(Some(Answer::Refused(reason))) => return Err(ForkError::Handshake(reason)),
                    Ok(None) => listening = false,
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    Err(e) => return Err(ForkError::setup("read the worker's answer")(e)),
                }
            } else if ended {
                return Ok(false);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                return Err(ForkError::NeverAttached(self.fork_timeout));
            }
        }
    }
}

/// A worker that is destroyed unless it attaches.
struct Unattached {
    worker: Arc<Worker>,
    attached: bool,
}

impl Drop for Unattached {
    fn drop(&mut self) {
        if !self.attached {
            destroy(&self.worker);
        }
    }
}

/// Kills and reaps a worker that nothing watches over.
fn destroy(worker: &Arc<Worker>) {
    if worker.kill().is_ok() && worker.reap_soon().is_some() {
        return;
    }
    // It has changed its user, and ends when it likes to; or a debugger keeps it. If either fails, what is left is a process that learns of
    // nothing, or a zombie. The caller hears of the first error only.
    let _ = worker.with_descriptors(|_, lifeline| shutdown(lifeline.as_raw_fd(), Shutdown::Both));
    let _ = watcher::watch_remains(worker);
}

fn no_segment(error: SegmentError) -> ForkError {
    match error {
        SegmentError::Os { action, source } => ForkError::Setup { action, source },
        SegmentError::FeatureMissing(feature) => ForkError::FeatureMissing(feature),
        other => ForkError::Handshake(other.to_string()),
    }
}

/// This program ignores SIGCHLD, or waits for any child.
fn status_taken() -> ForkError {
    ForkError::Handshake("it ended before it attached, and its exit status was taken by somebody else".to_owned())
}

/// Takes charge of a child that nothing else knows of yet. If that fails, the child is killed and reaped.
fn take_charge(id: u32) -> std::result::Result<Child, ForkError> {
    Child::new(id).map_err(|error| {
        if error.raw_os_error() == Some(libc::ESRCH) {
            return status_taken();
        }
        // Refused if it has changed its user: then it ends when it finds the lifeline closed, and nobody can be told.
        if kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL).is_ok() {
            // If a debugger keeps it, it is a zombie until this process ends.
            let _ = soon(|| pidfd::reap_by_number(id).transpose());
        }
        ForkError::setup("watch over the worker process")(error)
    })
}

/// Two ends, close-on-exec, neither of them where a process has its standard streams.
fn socket_pair() -> io::Result<(Descriptor, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((above_streams::moved(ours).and_then(Descriptor::new)?, above_streams::moved(theirs)?))
}
