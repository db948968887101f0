//! An honest parent that does everything at once with a worker of which it knows nothing, and what
//! the parent sees.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use coprocess::serde_bytes::ByteBuf;
use coprocess::{Backpressure, Builder, Coprocess, Error, ForkError, Reply, Result};

use crate::common::{AT_ONCE, Held, LIMIT, doings};
use crate::program;

/// The deadline of every operation that has one.
const DEADLINE: Duration = Duration::from_millis(25);
/// For workers that never attach. All others have all the time that they need on a busy machine.
pub(crate) const NEVER: Duration = Duration::from_millis(500);
const CLOSE: Duration = Duration::from_millis(25);
/// What a parent holds at most: what has come and was not handled, 64 MiB; answers that are not
/// read, 128 MiB; and half as much again for what the allocator makes of pieces that several
/// threads take and give back.
pub(crate) const MEMORY_KIB: u64 = 288 << 10;

/// What the panics of this process have said.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Takes note of the panics of this process.
pub(crate) fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.lock().unwrap().push(info.to_string());
            before(info);
        }));
    });
}

/// What a worker can do to this program, as seen from here.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How operations ended, and how many of them.
    pub(crate) ended: BTreeMap<String, u64>,
    /// The most by which an operation exceeded its deadline.
    pub(crate) late: Duration,
    pub(crate) started_in: Duration,
    pub(crate) closed_in: Duration,
    /// The most memory this process had, above what it had before.
    pub(crate) grown_kib: u64,
}

impl Seen {
    /// Returns `true` if an operation has ended so, or so and with more to say.
    pub(crate) fn has(&self, how: &str) -> bool {
        self.ended.keys().any(|ended| ended.starts_with(how))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (how, count) in &self.ended {
            write!(f, "{how} {count}, ")?;
        }
        write!(
            f,
            "started in {:.1?}, late by {:.1?}, closed in {:.1?}, ",
            self.started_in, self.late, self.closed_in
        )?;
        write!(f, "{} KiB more", self.grown_kib)
    }
}

/// Shows what was seen, if `COPROCESS_HOSTILE_REPORT` is set.
pub(crate) fn report(attack: &str, seen: &Seen) {
    if std::env::var_os("COPROCESS_HOSTILE_REPORT").is_some() {
        eprintln!("{attack}: {seen}");
    }
}

/// Names how an operation ended. Panics if an honest user of the library must not see that.
fn how<T>(outcome: &Result<T>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(Error::Misbehaved(what)) => format!("misbehaved ({what:?})"),
        Err(Error::Disconnected(reason)) => format!("disconnected ({reason:?})"),
        Err(Error::Timeout) => "timeout".to_owned(),
        Err(Error::Full) => "full".to_owned(),
        Err(Error::Closed) => "closed".to_owned(),
        Err(Error::Decode { .. }) => "decode".to_owned(),
        Err(error @ Error::Remote { .. }) => {
            // Whatever its text is, this takes it apart.
            let panic = error.remote_panic().map(|panic| (panic.place(), panic.backtrace()));
            assert!(
                !error.to_string().contains(char::is_control),
                "{error:?} is not for a terminal: {panic:?}"
            );
            "remote".to_owned()
        }
        Err(error @ Error::Types { .. }) => {
            assert!(
                !error.to_string().contains(char::is_control),
                "{error:?} is not for a terminal"
            );
            assert!(error.to_string().len() < 1 << 14, "too much to read");
            "types".to_owned()
        }
        Err(Error::Unheard { .. }) => "unheard".to_owned(),
        Err(Error::Overloaded { .. }) => "overloaded".to_owned(),
        Err(Error::MethodNotFound { .. }) => "method not found".to_owned(),
        Err(Error::Fork { cause: ForkError::NeverAttached(_), .. }) => "never attached".to_owned(),
        Err(Error::Fork { cause: ForkError::Ended(_), .. }) => "ended".to_owned(),
        Err(Error::Fork { cause: ForkError::AbiMismatch { .. }, .. }) => "other version".to_owned(),
        Err(Error::Fork { cause: ForkError::Handshake(why), .. }) => {
            assert!(!why.contains(char::is_control), "{why:?} is not for a terminal");
            format!("handshake ({why})")
        }
        Err(error) => panic!("nothing that a worker does may lead to this: {error:?}"),
    }
}

/// Returns `true` if the pair is over.
fn is_final<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Misbehaved(_) | Error::Disconnected(_) | Error::Closed))
}

/// What a parent is like.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) ring_capacity: usize,
    /// How long it goes on with a worker that lets it.
    pub(crate) time: Duration,
    /// Whether a thread of the program is in `run`; else the library's own dispatches.
    pub(crate) runs: bool,
    /// How long it waits for the worker to attach.
    pub(crate) fork: Duration,
    /// An ending that is to be seen: on a busy machine it goes on a little longer until it is.
    pub(crate) wants: Option<&'static str>,
}

impl Default for Parent {
    fn default() -> Parent {
        Parent {
            ring_capacity: 4096,
            time: Duration::from_millis(120),
            runs: false,
            fork: LIMIT / 4,
            wants: None,
        }
    }
}

/// One parent's dealings with one worker.
struct Dealings {
    end: Coprocess,
    /// Since when the pair is being closed.
    closing: OnceLock<Instant>,
    seen: Arc<Mutex<Seen>>,
}

impl Dealings {
    /// Repeats something until the pair is over. Each time it has to end within `limit`, or when
    /// the pair is closed if there is no limit.
    fn again_and_again<T>(
        &self,
        limit: Option<Duration>,
        mut operation: impl FnMut(u64) -> Result<T>,
    ) {
        for number in 0.. {
            let start = Instant::now();
            let outcome = operation(number);
            let now = Instant::now();
            let due = match limit {
                Some(limit) => start + limit,
                None => self.closing.get().map_or(now, |closing| start.max(*closing) + CLOSE),
            };
            let late = now.saturating_duration_since(due);
            let how = how(&outcome);
            assert!(late < AT_ONCE, "{how} came {late:?} too late\n{}", doings(process::id()));
            let mut seen = locked(&self.seen);
            seen.late = seen.late.max(late);
            *seen.ended.entry(how).or_default() += 1;
            drop(seen);
            if is_final(&outcome) || self.closing.get().is_some() {
                return;
            }
        }
    }
}

/// Starts a thread whose name says what it does, for a look at it from outside.
fn named<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() + Send + 'scope,
) -> ScopedJoinHandle<'scope, ()> {
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, body).unwrap()
}

/// Locks what was seen, also after a panic, when it is of interest above all.
fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process if the dealings with a worker do not end, and says what was seen until then.
/// Nothing else can, once a thread of the process hangs.
struct Watchdog {
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    fn new(role: &str, seen: &Arc<Mutex<Seen>>) -> Watchdog {
        let (role, seen) = (role.to_owned(), seen.clone());
        let (over, is_over) = mpsc::channel();
        let watch = move || {
            // Longer than all that has a limit, and not as long as the test has.
            if is_over.recv_timeout(LIMIT / 2) == Err(RecvTimeoutError::Timeout) {
                eprintln!(
                    "{role} is not over after {:?}\n{}seen: {}",
                    LIMIT / 2,
                    doings(process::id()),
                    locked(&seen)
                );
                process::abort();
            }
        };
        Watchdog { over: Some(over), thread: Some(thread::spawn(watch)) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over = None;
        // It ends with that.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Parent {
    /// Starts the worker that plays `role`, and deals with it. Checks everything that must hold
    /// whatever the worker does.
    pub(crate) fn meets(&self, role: &str) -> Seen {
        note_panics();
        let seen = Arc::<Mutex<Seen>>::default();
        let met = panic::catch_unwind(AssertUnwindSafe(|| self.meet(role, &seen)));
        let seen = std::mem::take(&mut *locked(&seen));
        if met.is_err() {
            // Of a thread that has panicked its scope does not tell what it said.
            let said = PANICS.lock().unwrap().join("\n");
            panic!("{said}\n{role}: {seen}");
        }
        seen
    }

    fn meet(&self, role: &str, seen: &Arc<Mutex<Seen>>) {
        // Everything that is made once is there.
        let before = Held::now();
        let watchdog = Watchdog::new(role, seen);
        let base_kib = reset_peak();
        let start = Instant::now();
        let started = self.builder().spawn(program(role));
        let started_in = start.elapsed();
        locked(seen).started_in = started_in;
        assert!(started_in < self.fork + AT_ONCE, "{role}: {started:?} after {started_in:?}");
        match started {
            Err(error) => drop(locked(seen).ended.insert(how::<()>(&Err(error)), 1)),
            Ok(end) => self.deal(end, seen),
        }
        drop(watchdog);
        before.again(role);
        let panics = PANICS.lock().unwrap().clone();
        assert!(panics.is_empty(), "panics after {role}");
        let grown_kib = peak_kib().saturating_sub(base_kib);
        locked(seen).grown_kib = grown_kib;
        assert!(grown_kib < MEMORY_KIB, "too much memory");
    }

    pub(crate) fn builder(&self) -> Builder {
        Builder::new()
            .ring_capacity(self.ring_capacity)
            .max_message(1 << 20)
            .fork_timeout(self.fork)
            .close_timeout(CLOSE)
    }

    fn deal(&self, end: Coprocess, seen: &Arc<Mutex<Seen>>) {
        register(&end);
        let dealings = Dealings { end, closing: OnceLock::new(), seen: seen.clone() };
        let (told, tellable) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let (middling, large) = (ByteBuf::from(vec![7; 5_000]), ByteBuf::from(vec![7; 200_000]));
        thread::scope(|scope| {
            let end = &dealings.end;
            let dealings = &dealings;
            let mut threads = vec![
                named(scope, "calls", || {
                    dealings.again_and_again(Some(DEADLINE), |n| {
                        end.call_timeout::<u64>("echo", n, DEADLINE)
                    })
                }),
                named(scope, "large calls", || {
                    dealings.again_and_again(Some(DEADLINE), |_| {
                        end.call_timeout::<ByteBuf>("echo", &middling, DEADLINE)
                    })
                }),
                named(scope, "emits", || {
                    dealings.again_and_again(Some(DEADLINE), |n| {
                        end.emit_timeout("event", (n, "text"), DEADLINE)
                    })
                }),
                named(scope, "large emits", || {
                    dealings.again_and_again(Some(DEADLINE), |_| {
                        end.emit_timeout("large", &large, DEADLINE)
                    })
                }),
                named(scope, "tries", || {
                    dealings.again_and_again(Some(Duration::ZERO), |n| {
                        thread::yield_now();
                        end.try_emit("event", n)
                    });
                }),
                named(scope, "gauge", || {
                    let latest = end.event("latest").backpressure(Backpressure::KeepLatest);
                    dealings.again_and_again(Some(Duration::ZERO), |n| {
                        thread::yield_now();
                        latest.emit(n)
                    });
                }),
                named(scope, "calls of text", || {
                    dealings.again_and_again(Some(DEADLINE), |n| {
                        // The deadline of a call holds from the start: for the wait for room, and
                        // for the wait for its answer.
                        let started = Instant::now();
                        match end.call_timeout::<String>("echo", format!("number {n}"), DEADLINE) {
                            Err(Error::Timeout) if started.elapsed() < DEADLINE => {
                                panic!("before its deadline")
                            }
                            other => other,
                        }
                    });
                }),
                // Without deadlines: these end with the pair.
                named(scope, "calls for ever", || {
                    dealings.again_and_again(None, |n| end.call::<u64>("echo", n))
                }),
                named(scope, "callbacks", || {
                    let told = told.clone();
                    dealings.again_and_again(None, |n| {
                        let told = told.clone();
                        let sent = end.call_with("echo", n, move |answer: Result<u64>| {
                            how(&answer);
                            told.fetch_add(1, Ordering::Relaxed);
                        });
                        if sent.is_ok() {
                            tellable.fetch_add(1, Ordering::Relaxed);
                        }
                        thread::sleep(Duration::from_micros(100));
                        sent
                    });
                }),
            ];
            if self.runs {
                threads.push(named(scope, "runs", || {
                    dealings.again_and_again(None, |_| end.run().and(Err::<(), _>(Error::Closed)))
                }));
            }
            let until = Instant::now() + self.time;
            let is_missing = || self.wants.is_some_and(|wants| !locked(seen).has(wants));
            let goes_on = |now: Instant| now < until || now < until + AT_ONCE && is_missing();
            while goes_on(Instant::now()) && !threads.iter().all(|thread| thread.is_finished()) {
                thread::sleep(Duration::from_millis(1));
            }
            end.stats();
            let start = Instant::now();
            dealings.closing.set(start).unwrap();
            let closed = end.close();
            let took = start.elapsed();
            locked(seen).closed_in = took;
            assert!(matches!(closed, Ok(Some(_))), "{closed:?}");
            assert!(took < 3 * CLOSE + AT_ONCE, "closing took {took:?}\n{}", doings(process::id()));
        });
        drop(dealings.end);
        let patience = Instant::now() + AT_ONCE;
        while told.load(Ordering::Relaxed) != tellable.load(Ordering::Relaxed) {
            assert!(
                Instant::now() < patience,
                "{told:?} of {tellable:?} callbacks were called\n{}",
                doings(process::id())
            );
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Registers handlers of many types, so that what a worker sends to them is decoded.
fn register(end: &Coprocess) {
    let weak = end.downgrade();
    end.listen("text", |text: String| drop(text))
        .listen("bytes", |bytes: ByteBuf| drop(bytes))
        .listen("numbers", |numbers: Vec<u64>| drop(numbers))
        .listen("map", |map: HashMap<String, Vec<Option<u32>>>| drop(map))
        .serve("echo", |bytes: ByteBuf| bytes)
        .serve("nested", move |n: u64| {
            let answer = weak
                .upgrade()
                .map(|end| end.call_timeout::<u64>("echo", n, Duration::from_millis(2)));
            answer.and_then(Result::ok)
        })
        .serve_deferred("later", |_: u64, reply: Reply<u64>| drop(reply));
}

/// Has the kernel forget the most memory this process had, and returns what it has now, in KiB.
pub(crate) fn reset_peak() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_kib()
}

pub(crate) fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
