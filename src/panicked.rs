//! Carries the panic of a handler to the caller: the message, and the place and the backtrace as
//! far as they are known.
//!
//! All of it travels as the text of a failed call, which [`Error::Remote`](crate::Error::Remote)
//! has as its `message`:
//!
//! ```text
//! its handler panicked at src/main.rs:10:5: the message
//! stack backtrace:
//!    0: ...
//! ```
//!
//! Only the panic hook learns of the place and the stack. A worker process has a hook of this
//! library, in front of the hook that was there before; see [`note_panics`].

use std::any::{Any, TypeId};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::fmt;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;

use crate::text::clip;

/// Tells the caller that the handler dropped the reply.
pub(crate) const DROPPED: &str = "its handler dropped the reply without an answer";

const PREFIX: &str = "its handler panicked";

/// Tells the caller that a panic dropped the reply. The panic may be on another thread than the
/// handler's.
const PREFIX_OF_DROPPED: &str = "its handler dropped the reply without an answer in a panic";

const NO_TEXT: &str = "(no message)";

const BACKTRACE: &str = "\nstack backtrace:\n";

/// Bounds the bytes of a panic's message that the caller is told. [`MAX_BACKTRACE`] bounds the
/// backtrace. An answer has space for both.
const MAX_MESSAGE: usize = 16 << 10;

const MAX_BACKTRACE: usize = 32 << 10;

/// Holds what the hook has learned of a panic.
struct Note {
    /// The type that the panic carries, to recognize the panic: code that passes a panic on calls
    /// no hook.
    payload: TypeId,
    text: Option<String>,
    /// `file:line:column`
    place: Option<String>,
    backtrace: Backtrace,
}

impl Note {
    fn message(&self, prefix: &str) -> String {
        let text = self.text.as_deref().unwrap_or(NO_TEXT);
        let mut message = match &self.place {
            Some(place) => format!("{prefix} at {place}: {text}"),
            None => format!("{prefix}: {text}"),
        };
        if self.backtrace.status() == BacktraceStatus::Captured {
            message.push_str(BACKTRACE);
            message.push_str(clip(&self.backtrace.to_string(), MAX_BACKTRACE));
        }
        message
    }
}

thread_local! {
    /// Holds the last panic of this thread.
    static LAST: Cell<Option<Note>> = const { Cell::new(None) };
}

/// Notes the place of each panic of this process from now on, and then calls the former hook.
///
/// Called in workers only: in the parent's process the hook belongs to the program.
pub(crate) fn note_panics() {
    static INSTALLED: Once = Once::new();
    // A thread that panics must not change the hook.
    if std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
}

/// Notes a panic. Runs while the thread panics, so a panic in here would end the process.
fn note(info: &PanicHookInfo<'_>) {
    let note = Note {
        payload: info.payload().type_id(),
        text: text_of(info.payload()).map(|text| clip(text, MAX_MESSAGE).to_owned()),
        place: info.location().map(ToString::to_string),
        // Captures nothing unless the environment asks for it.
        backtrace: Backtrace::capture(),
    };
    // A thread that is ending has no handler left to panic.
    let _ = LAST.try_with(|last| last.set(Some(note)));
}

fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Returns what the caller is told of the panic of a handler, which this thread has just caught.
#[cold]
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = text_of(payload).map(|text| clip(text, MAX_MESSAGE));
    let noted = LAST.try_with(Cell::take).ok().flatten();
    match noted.filter(|note| note.payload == payload.type_id() && note.text.as_deref() == text) {
        Some(note) => note.message(PREFIX),
        None => format!("{PREFIX}: {}", text.unwrap_or(NO_TEXT)),
    }
}

/// Returns what the caller is told of the panic that unwinds this thread, as far as it was noted.
#[cold]
pub(crate) fn unwinding_message() -> Option<String> {
    if !std::thread::panicking() {
        return None;
    }
    LAST.try_with(|last| {
        let noted = last.take();
        let message = noted.as_ref().map(|note| note.message(PREFIX_OF_DROPPED));
        // Kept: this panic may drop other replies, and the thread that catches the panic asks, too.
        last.set(noted);
        message
    })
    .ok()
    .flatten()
}

/// Returns what the text of a failed call says after the prefix of a panic. Returns `None` if the
/// text is not about a panic.
fn after_prefix(message: &str) -> Option<&str> {
    message.strip_prefix(PREFIX).or_else(|| message.strip_prefix(PREFIX_OF_DROPPED))
}

/// Splits the text of a failed call into its message, about one line long, and the backtrace.
fn split(message: &str) -> (&str, Option<&str>) {
    match message.rsplit_once(BACKTRACE) {
        Some((before, backtrace)) if after_prefix(message).is_some() => (before, Some(backtrace)),
        _ => (message, None),
    }
}

/// Returns the text of a failed call without a backtrace, for `Display`.
pub(crate) fn without_backtrace(message: &str) -> &str {
    split(message).0
}

/// Describes a panic of the peer's handler, by [`Error::remote_panic`](crate::Error::remote_panic).
///
/// The place is known if the handler ran in a worker process. When such a process registers its
/// first handler, the library puts a panic hook in front of the hook that is there. If the program
/// replaces the hook later, and does not call the former hook, the place is no longer known. If the
/// handler ran at the parent's end, only the message is known.
///
/// The backtrace is there if the environment of the worker asks for it, as for
/// [`Backtrace::capture`]: `RUST_LIB_BACKTRACE`, or else `RUST_BACKTRACE`, is set and not `0`. The
/// message is cut after 16 KiB, and the backtrace after 32 KiB.
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// if let Err(error) = co.call::<()>("parse", "text") {
///     eprintln!("{error}");
///     if let Some(backtrace) = error.remote_panic().and_then(|panic| panic.backtrace()) {
///         eprintln!("{backtrace}");
///     }
/// }
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemotePanic<'a> {
    message: &'a str,
    place: Option<RemotePlace<'a>>,
    backtrace: Option<&'a str>,
}

/// Names the place where the peer's handler panicked, by [`RemotePanic::place`].
///
/// `Display` is `file:line:column`.
///
/// # Examples
///
/// See [`RemotePanic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemotePlace<'a> {
    file: &'a str,
    line: u32,
    column: u32,
}

impl<'a> RemotePanic<'a> {
    pub(crate) fn read(message: &'a str) -> Option<RemotePanic<'a>> {
        let (before, backtrace) = split(message);
        let rest = after_prefix(before)?;
        if let Some(message) = rest.strip_prefix(": ") {
            return Some(RemotePanic { message, place: None, backtrace });
        }
        let rest = rest.strip_prefix(" at ")?;
        // The name of a file may also contain a colon and a space.
        let (place, message) = rest.match_indices(": ").find_map(|(at, mark)| {
            Some((RemotePlace::read(rest.get(..at)?)?, rest.get(at.checked_add(mark.len())?..)?))
        })?;
        Some(RemotePanic { message, place: Some(place), backtrace })
    }

    /// Returns the message of the panic.
    ///
    /// # Examples
    ///
    /// See [`Error::remote_panic`](crate::Error::remote_panic).
    pub fn message(&self) -> &'a str {
        self.message
    }

    /// Returns the place in the source where the handler panicked, if the place is known.
    ///
    /// # Examples
    ///
    /// See [`Error::remote_panic`](crate::Error::remote_panic).
    pub fn place(&self) -> Option<RemotePlace<'a>> {
        self.place
    }

    /// Returns the backtrace, of many lines, if the environment of the peer's process asks for one.
    ///
    /// # Examples
    ///
    /// See [`RemotePanic`].
    pub fn backtrace(&self) -> Option<&'a str> {
        self.backtrace
    }
}

impl<'a> RemotePlace<'a> {
    fn read(text: &'a str) -> Option<RemotePlace<'a>> {
        let mut parts = text.rsplitn(3, ':');
        let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some(RemotePlace { file, line: line.parse().ok()?, column: column.parse().ok()? })
    }

    /// Returns the file, as the compiler of the peer's program was told its name.
    ///
    /// # Examples
    ///
    /// See [`Error::remote_panic`](crate::Error::remote_panic).
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// Returns the line, counted from 1.
    ///
    /// # Examples
    ///
    /// See [`Error::remote_panic`](crate::Error::remote_panic).
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Returns the column, counted from 1.
    ///
    /// # Examples
    ///
    /// See [`Error::remote_panic`](crate::Error::remote_panic).
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for RemotePlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn read(message: &str) -> Option<(&str, Option<String>, Option<&str>)> {
        RemotePanic::read(message).map(|panic| {
            (panic.message(), panic.place().map(|place| place.to_string()), panic.backtrace())
        })
    }

    #[test]
    fn what_is_told_is_read_again() {
        let place = |text: &str| Some(text.to_owned());
        for (message, panic) in [
            ("its handler panicked: boom", ("boom", None, None)),
            (
                "its handler dropped the reply without an answer in a panic at a.rs:1:2: boom",
                ("boom", place("a.rs:1:2"), None),
            ),
            ("its handler panicked: at a.rs:1:2: boom", ("at a.rs:1:2: boom", None, None)),
            (
                "its handler panicked at src/a.rs:10:5: boom: b\nc",
                ("boom: b\nc", place("src/a.rs:10:5"), None),
            ),
            ("its handler panicked at odd: name.rs:1:2: ", ("", place("odd: name.rs:1:2"), None)),
            (
                "its handler panicked at a.rs:1:2: x\nstack backtrace:\n 0: main\n",
                ("x", place("a.rs:1:2"), Some(" 0: main\n")),
            ),
            (
                "its handler panicked: x\nstack backtrace:\ny\nstack backtrace:\nz",
                ("x\nstack backtrace:\ny", None, Some("z")),
            ),
        ] {
            assert_eq!(read(message), Some(panic), "{message:?}");
        }
    }

    #[test]
    fn what_is_no_panic_is_not_read_as_one() {
        for message in [
            "",
            "boom",
            crate::panicked::DROPPED,
            "its handler panicked",
            "its handler panicked at ",
            "its handler panicked at a.rs:1: x",
            "its handler panicked at a.rs:1:99999999999: x",
            "its handler panicked at ä:ö:ü: ß",
            "the call failed: its handler panicked: boom",
            "no\nstack backtrace:\n0: main",
        ] {
            assert_eq!(read(message), None, "{message:?}");
        }
        assert!(PREFIX_OF_DROPPED.starts_with(crate::panicked::DROPPED));
        assert_eq!(
            without_backtrace("no\nstack backtrace:\n0: main"),
            "no\nstack backtrace:\n0: main"
        );
    }
}
