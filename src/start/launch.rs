//! Starts a worker: makes the socket pair, the process and the segment, and waits for the
//! handshake.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coprocess_ring::{ABI_VERSION, Backend, Segment, SegmentError, Side, Wakeup};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::unistd::Pid;

use crate::api::coprocess::Coprocess;
use crate::end::End;
use crate::error::{Error, ForkError, Result};
use crate::process::child::execute::Program;
use crate::process::child::output::Captured;
use crate::process::child::{Child, poll_briefly};
use crate::process::descriptors::renumber::move_above_streams;
use crate::process::handshake::arguments::send_piece;
use crate::process::handshake::{Answer, Hello, Nonce, receive_verdict, send_claim};
use crate::process::{Descriptor, Limits, Output, TerminalSignals, Worker, pidfd, watch};
use crate::settings::Settings;
use crate::start::watch_peer;

/// Holds the settings of one start.
pub(crate) struct Launch {
    pub(crate) program: Program,
    pub(crate) capacity: usize,
    pub(crate) backend: Backend,
    pub(crate) wakeup: Wakeup,
    pub(crate) settings: Settings,
    pub(crate) terminal_signals: TerminalSignals,
    pub(crate) fork_timeout: Duration,
    /// Where standard output and standard error lead.
    pub(crate) outputs: [Output; 2],
    pub(crate) limits: Limits,
}

impl Launch {
    /// Starts the worker and waits until it has attached.
    ///
    /// # Blocking
    ///
    /// Until the worker has attached, has ended or refused, or `fork_timeout` has passed.
    pub(crate) fn start(self) -> Result<Coprocess> {
        let program = self.program.name().to_string_lossy().into_owned();
        self.try_start().map_err(|cause| Error::Fork { program, cause })
    }

    fn try_start(mut self) -> std::result::Result<Coprocess, ForkError> {
        // Before a process runs: no worker could attach to a segment that cannot be made.
        Segment::check(self.backend, self.wakeup).map_err(no_segment)?;
        let deadline = Instant::now().checked_add(self.fork_timeout);
        let (lifeline, theirs) = socket_pair().map_err(ForkError::setup("make a socket pair"))?;
        let nonce = Nonce::new();
        send_claim(lifeline.as_fd(), nonce)
            .map_err(ForkError::setup("send through the socket pair"))?;
        let [stdout, stderr] = &self.outputs;
        let (captured, streams) = Captured::new([stdout, stderr])
            .map_err(ForkError::setup("capture the worker's output"))?;
        // Before the segment is made: kernel and dynamic linker work on the new process for longer
        // than the rest takes.
        let started = self.program.execute(theirs.as_fd(), nonce, streams)?;
        drop(theirs);
        let process = take_charge(started.id)?;
        let worker = Worker::new(
            started.child,
            process,
            lifeline,
            self.settings.close_timeout,
            self.limits,
            captured,
            watch::notify_watcher,
        );
        self.attach(started.id, Unattached { worker: Arc::new(worker), attached: false }, deadline)
    }

    fn attach(
        &self,
        id: u32,
        mut unattached: Unattached,
        deadline: Option<Instant>,
    ) -> std::result::Result<Coprocess, ForkError> {
        let worker = &unattached.worker;
        // Before the worker gets the hello. The process is a child that was not reaped, so the
        // number is still that of the worker.
        self.limits.set(id).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => status_taken(),
            _ => ForkError::setup("set the limits of the worker process")(error),
        })?;
        let (region, segment) =
            Segment::create(self.backend, self.wakeup, self.capacity).map_err(no_segment)?;
        let function = self.program.function().unwrap_or(0);
        let hello = Hello::new(
            region.capacity(),
            &segment,
            &self.settings,
            self.terminal_signals,
            function,
        )
        .with(self.program.arguments(), self.limits.limits_memory());
        let attached = worker.with_descriptors(|process, lifeline| {
            region
                .set_peer_liveness(Some(process), lifeline)
                .map_err(ForkError::setup("copy the descriptor of the worker process"))?;
            match hello.send(lifeline, &segment) {
                // The worker has closed the socket, or ended, with or without having read the
                // claim: `handshake` finds out which.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) => {}
                sent => {
                    sent.map_err(ForkError::setup("send the segment through the socket pair"))?
                }
            }
            self.handshake(lifeline, process, deadline)
        });
        let attached = attached.map_err(ForkError::setup("wait for the worker"))?;
        if !attached.unwrap_or(Ok(false))? {
            return Err(match worker.reap_briefly() {
                Some(Some(status)) => ForkError::Ended(status),
                Some(None) => status_taken(),
                None => ForkError::Handshake(
                    "it ended before it attached, and a debugger keeps its exit status".to_owned(),
                ),
            });
        }
        segment.attached(&region).map_err(no_segment)?;
        let end = End::new(&region, Side::Parent, id, self.settings);
        end.set_worker(worker.clone());
        let co = Coprocess::new(end);
        watch_peer::watch_worker(co.end(), worker)
            .map_err(ForkError::setup("start the process watcher"))?;
        unattached.attached = true;
        Ok(co)
    }

    /// Sends the arguments and waits for the verdict. Returns `false` if the worker has ended.
    fn handshake(
        &self,
        lifeline: BorrowedFd<'_>,
        process: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> std::result::Result<bool, ForkError> {
        // `false` once the worker has closed its end of the socket. Then only the end of its
        // process, or the clock, can tell more.
        let mut listening = true;
        let mut unsent = self.program.arguments().map_or(&[][..], |arguments| &arguments.bytes);
        loop {
            let timeout = deadline.map_or(PollTimeout::NONE, |at| {
                let left = at.saturating_duration_since(Instant::now());
                // Rounded up to the next millisecond.
                PollTimeout::try_from(left.saturating_add(Duration::from_micros(999)))
                    .unwrap_or(PollTimeout::MAX)
            });
            let interest = if unsent.is_empty() {
                PollFlags::POLLIN
            } else {
                PollFlags::POLLIN | PollFlags::POLLOUT
            };
            let mut fds =
                [PollFd::new(process, PollFlags::POLLIN), PollFd::new(lifeline, interest)];
            let watched = if listening { &mut fds[..] } else { fds.split_at_mut(1).0 };
            match poll(watched, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(e) => return Err(ForkError::setup("wait for the worker")(e.into())),
            }
            let [ended, happened] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
            let (ended, said) = (!ended.is_empty(), happened.intersects(!PollFlags::POLLOUT));
            let has_space = happened.contains(PollFlags::POLLOUT);
            if !said && has_space {
                unsent = send_piece(lifeline, unsent)
                    .map_err(ForkError::setup("send the arguments of the worker function"))?;
            }
            if said {
                match receive_verdict(lifeline) {
                    Ok(Some(Answer::Attached)) => return Ok(true),
                    Ok(Some(Answer::OtherAbi(theirs))) => {
                        return Err(ForkError::AbiMismatch { ours: ABI_VERSION, theirs });
                    }
                    Ok(Some(Answer::Secure)) => return Err(ForkError::SecureExecution),
                    Ok(Some(Answer::Refused(reason))) => return Err(ForkError::Handshake(reason)),
                    Ok(None) => listening = false,
                    Err(e)
                        if matches!(
                            e.kind(),
                            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                        ) => {}
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

/// Destroys a process when this is dropped, unless the worker has attached.
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

/// Kills and reaps a process that has not become a worker.
fn destroy(worker: &Arc<Worker>) {
    if worker.kill().is_ok() && worker.reap_briefly().is_some() {
        return;
    }
    // The process has changed its user, and ends when it likes to; or a debugger keeps it. If
    // either call fails, a process is left that does not learn of the failed start, or a zombie.
    // The caller gets the first error only.
    let _ = worker.with_descriptors(|_, lifeline| shutdown(lifeline.as_raw_fd(), Shutdown::Both));
    let _ = watch::reap_leftover(worker);
}

/// Converts the error of a segment that could not be made.
fn no_segment(error: SegmentError) -> ForkError {
    match error {
        SegmentError::Os { action, source } => ForkError::Setup { action, source },
        SegmentError::FeatureMissing(feature) => ForkError::FeatureMissing(feature),
        other => ForkError::Handshake(other.to_string()),
    }
}

/// Returns the error for an exit status that other code has taken: this program ignores SIGCHLD, or
/// waits for any child.
fn status_taken() -> ForkError {
    ForkError::Handshake(
        "it ended before it attached, and other code of this program took its exit status"
            .to_owned(),
    )
}

/// Takes charge of a child that no other code knows of yet. If that fails, kills and reaps the
/// child.
fn take_charge(id: u32) -> std::result::Result<Child, ForkError> {
    Child::new(id).map_err(|error| {
        if error.raw_os_error() == Some(libc::ESRCH) {
            return status_taken();
        }
        // Refused if the process has changed its user. Then the process ends when it finds the
        // lifeline closed, and the caller does not learn of that end.
        if kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL).is_ok() {
            // If a debugger keeps the process, it stays a zombie until this process ends.
            let _ = poll_briefly(|| pidfd::reap_by_number(id).transpose());
        }
        ForkError::setup("watch over the worker process")(error)
    })
}

/// Makes a socket pair, close-on-exec, at numbers above the standard streams.
fn socket_pair() -> io::Result<(Descriptor, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((move_above_streams(ours).and_then(Descriptor::new)?, move_above_streams(theirs)?))
}
