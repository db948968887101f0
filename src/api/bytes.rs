//! Messages whose bytes are the user's own: calls and events without serde. No types are compared.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use crate::api::call::call_header;
use crate::api::call_async::Call;
use crate::api::coprocess::Coprocess;
use crate::api::pending::{Pending, wait_with};
use crate::end::End;
use crate::end::send::SendFailed;
use crate::error::{Result, Step};
use crate::recv::handlers::Incoming;
use crate::send::outbox::WhenFull;
use crate::time::deadline::Deadline;
use crate::types::payload::Payload;
use crate::wire::header::{CallId, Header, Subject};
use crate::wire::message::Message;

/// Bytes as they are, for programs with a codec of their own.
///
/// The methods whose names end in `_bytes` send and receive the payload of a message as it is:
/// without a length and without an encoding. If one end sends by such a method, its peer usually
/// receives by another.
///
/// A handler gets the payload in a private buffer, which the peer cannot change. The buffer begins
/// at a multiple of eight bytes, so that [`bytemuck`](crate::bytemuck) can read it as numbers.
///
/// Methods of bytes and methods of types can be mixed, since [`call`](Self::call) and
/// [`emit`](Self::emit) send bytes, too: those of postcard. `serve_bytes` and `listen_bytes` get
/// just these bytes. If a handler takes a type, `call_bytes` and `emit_bytes` must send the bytes
/// of that type. Otherwise the handler's end cannot decode them, or decodes them by chance as
/// another value.
///
/// If one end sends or takes bytes, no types are compared.
impl Coprocess {
    /// Calls a method with `args` as the bytes of its arguments, and returns the bytes of its
    /// result.
    ///
    /// Bytes have no type, so no types are compared. A handler that takes a type decodes the bytes
    /// as that type.
    ///
    /// # Blocking
    ///
    /// As [`call`](Self::call).
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), without the errors of encoding and decoding.
    ///
    /// # Examples
    ///
    /// ```
    /// coprocess::init_in_tests!();
    ///
    /// # fn main() -> coprocess::Result<()> {
    /// let co = coprocess::fork(|co| {
    ///     co.serve_bytes("reverse", |text| text.iter().rev().copied().collect::<Vec<u8>>());
    /// })?;
    /// assert_eq!(co.call_bytes("reverse", b"abc")?, b"cba");
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_bytes(&self, method: &str, args: &[u8]) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.call_bytes_into(method, args, &mut answer)?;
        Ok(answer)
    }

    /// Calls a method as [`call_bytes`](Self::call_bytes) does, and waits for at most `timeout`.
    ///
    /// The deadline covers the whole operation, and replaces every other: see
    /// [`call_timeout`](Self::call_timeout).
    ///
    /// # Blocking
    ///
    /// As [`call_timeout`](Self::call_timeout).
    ///
    /// # Errors
    ///
    /// As [`call_bytes`](Self::call_bytes).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// # use std::time::Duration;
    /// let answer = co.call_bytes_timeout("reverse", b"abc", Duration::from_millis(20))?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_bytes_timeout(
        &self,
        method: &str,
        args: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.call_bytes_until(method, args, &mut answer, Deadline::after(timeout))?;
        Ok(answer)
    }

    /// Calls a method as [`call_bytes`](Self::call_bytes) does, and writes the result to a buffer.
    ///
    /// The result replaces the content of `answer`. The memory of `answer` is used again.
    ///
    /// # Blocking
    ///
    /// As [`call`](Self::call).
    ///
    /// # Errors
    ///
    /// As [`call_bytes`](Self::call_bytes). If this method fails, `answer` is unchanged.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let mut answer = Vec::new();
    /// for line in ["one", "two"] {
    ///     co.call_bytes_into("reverse", line.as_bytes(), &mut answer)?;
    ///     println!("{}", answer.escape_ascii());
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_bytes_into(&self, method: &str, args: &[u8], answer: &mut Vec<u8>) -> Result<()> {
        self.call_bytes_until(method, args, answer, self.end().default_deadline())
    }

    /// Sends a call with `args` as the bytes of its arguments, and returns a handle to the result's
    /// bytes.
    ///
    /// Wait for the result later, or await it, as after [`start`](Self::start).
    ///
    /// # Blocking
    ///
    /// As [`start`](Self::start): until the call is sent.
    ///
    /// # Errors
    ///
    /// As [`call_bytes`](Self::call_bytes), as far as sending goes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let (one, two) = (co.start_bytes("reverse", b"one")?, co.start_bytes("reverse", b"two")?);
    /// println!("{} {}", one.wait()?.escape_ascii(), two.wait()?.escape_ascii());
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn start_bytes(&self, method: &str, args: &[u8]) -> Result<Pending<Vec<u8>>> {
        let deadline = self.end().default_deadline();
        let id = self.send_call_bytes(method, args, deadline)?;
        Ok(Pending::new(self.end().clone(), id, method.into(), deadline, None)
            .reading(|answer| Ok(answer.bytes.to_vec())))
    }

    /// Calls a method as [`call_async`](Self::call_async) does, with bytes for arguments and
    /// result.
    ///
    /// # Blocking
    ///
    /// As [`call_async`](Self::call_async).
    ///
    /// # Errors
    ///
    /// As [`call_async`](Self::call_async), without the errors of encoding and decoding.
    ///
    /// # Cancel safety
    ///
    /// As [`call_async`](Self::call_async).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// # let _ = async {
    /// let answer = co.call_bytes_async("reverse", b"abc").await?;
    /// # Ok::<(), coprocess::Error>(())
    /// # };
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_bytes_async(&self, method: &str, args: &[u8]) -> Call<Vec<u8>> {
        let read = |answer: Payload<'_>| Ok(answer.bytes.to_vec());
        Call::encoding(
            self,
            method,
            self.end().default_deadline(),
            Some(read),
            |message, deadline| {
                let header = call_header(self.end(), Subject::Named(method.as_bytes()), deadline);
                message.encode_bytes(header, args, self.end().settings.max_message).map(|()| None)
            },
        )
    }

    fn call_bytes_until(
        &self,
        method: &str,
        args: &[u8],
        answer: &mut Vec<u8>,
        deadline: Deadline,
    ) -> Result<()> {
        let id = self.send_call_bytes(method, args, deadline)?;
        wait_with(self.end(), id, deadline, method, |payload| {
            answer.clear();
            answer.extend_from_slice(payload.bytes);
            Ok(())
        })
    }

    fn send_call_bytes(&self, method: &str, args: &[u8], deadline: Deadline) -> Step<CallId> {
        let end = self.own_end()?;
        let sent = Message::new().deliver_bytes(
            call_header(end, Subject::Named(method.as_bytes()), deadline),
            args,
            end.settings.max_message,
            |message| end.send_call(message, WhenFull::Wait(deadline)),
        )?;
        sent.map_err(|SendFailed { error, .. }| {
            end.take_last_deliveries(deadline);
            error
        })
    }

    /// Sends an event with `value` as the bytes of its value.
    ///
    /// Bytes have no type, so no types are compared. A handler that takes a type decodes the bytes
    /// as that type.
    ///
    /// # Blocking
    ///
    /// As [`emit`](Self::emit).
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), without the errors of encoding.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.emit_bytes("line", b"GET / HTTP/1.1")?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_bytes(&self, event: &str, value: &[u8]) -> Result<()> {
        let end = self.own_end()?;
        let send = |message: &mut Message<'_>| end.send(message, WhenFull::Wait(Deadline::NEVER));
        Ok(Message::new().deliver_bytes(
            Header::Event(Subject::Named(event.as_bytes())),
            value,
            end.settings.max_message,
            send,
        )??)
    }

    /// Registers a handler that gets the bytes of an event's value.
    ///
    /// Otherwise as [`listen`](Self::listen). No types are compared: the handler gets the bytes of
    /// a value of any type.
    ///
    /// # Panics
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.listen_bytes("line", |line| println!("{}", line.escape_ascii()));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn listen_bytes(
        &self,
        event: &str,
        handler: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> &Self {
        self.register(|handlers| {
            handlers.listen(event, move |value| {
                handler(value.bytes);
                Ok(())
            });
        })
    }

    /// Registers a handler that takes and returns bytes.
    ///
    /// Otherwise as [`serve`](Self::serve). No types are compared: the handler gets the bytes of
    /// arguments of any types. A caller that wants a type decodes the result as that type.
    ///
    /// # Panics
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Examples
    ///
    /// See [`call_bytes`](Self::call_bytes).
    pub fn serve_bytes<R: AsRef<[u8]> + 'static>(
        &self,
        method: &str,
        handler: impl Fn(&[u8]) -> R + Send + Sync + 'static,
    ) -> &Self {
        self.serve_payload(method, move |end, call, args| end.settle_bytes(call, handler(args)))
    }

    /// Registers a handler of bytes that can fail, as decoding can.
    ///
    /// Otherwise as [`serve_bytes`](Self::serve_bytes). If the handler returns an error, the caller
    /// gets [`Error::Remote`](crate::Error::Remote) with the error's text.
    ///
    /// # Panics
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.try_serve_bytes("upper", |text| std::str::from_utf8(text).map(str::to_uppercase));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn try_serve_bytes<R: AsRef<[u8]> + 'static, E: Display>(
        &self,
        method: &str,
        handler: impl Fn(&[u8]) -> std::result::Result<R, E> + Send + Sync + 'static,
    ) -> &Self {
        self.serve_payload(method, move |end, call, args| match handler(args) {
            Ok(result) => end.settle_bytes(call, result),
            Err(error) => end.answer_with::<()>(call, Err(error.to_string())),
        })
    }

    fn serve_payload(
        &self,
        method: &str,
        serve: impl Fn(&Arc<End>, &Incoming<'_>, &[u8]) + Send + Sync + 'static,
    ) -> &Self {
        self.register(|handlers| {
            handlers.serve(method, move |end, call| {
                serve(end, call, call.args.bytes);
                Ok(())
            });
        })
    }
}
