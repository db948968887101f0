//! Messages whose bytes are the user's own: calls and events without serde. No types are compared.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use crate::api::call_async::Call;
use crate::api::coprocess::{Coprocess, call_head};
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

/// Bytes as they are: for programs that bring their own codec.
///
/// The methods whose names end in `_bytes` send and receive the payload of a message as it is: no length, no encoding. A handler sees it
/// in a private buffer, which the other side cannot change, and which begins at a multiple of eight bytes, so that [`bytemuck`](crate::bytemuck) can look at it
/// as numbers. What one end sends by one of these the other end usually receives by another.
///
/// Both kinds can be mixed, since the payload of [`call`](Self::call) and [`emit`](Self::emit) are bytes, too: postcard's. `serve_bytes` and
/// `listen_bytes` see just those, and what `call_bytes` and `emit_bytes` send to a typed handler must be those: else it is what does not decode as the handler's
/// type, or what does by chance. No types are compared if one end sends or takes bytes.
impl Coprocess {
    /// Calls a method with these bytes as its arguments, and returns the bytes of its result.
    ///
    /// No types are compared: bytes have none. A handler that takes a type decodes them as that type.
    ///
    /// Ends as [`call`](Self::call) does.
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

    /// As [`call_bytes`](Self::call_bytes), with a deadline of its own for the whole operation.
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
    /// let answer = co.call_bytes_timeout("reverse", b"abc", std::time::Duration::from_millis(20))?;
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

    /// As [`call_bytes`](Self::call_bytes), into a buffer: its former content is replaced, its memory is reused.
    ///
    /// # Errors
    ///
    /// As [`call_bytes`](Self::call_bytes); then the buffer is as it was.
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

    /// Sends a call with these bytes and returns at once; wait for the bytes of the result later, or await them: as [`start`](Self::start).
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

    /// As [`call_async`](Self::call_async), with these bytes as the arguments, and for the bytes of the result.
    ///
    /// # Errors
    ///
    /// As [`call_async`](Self::call_async), without the errors of encoding and decoding.
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
                let header = call_head(self.end(), Subject::Named(method.as_bytes()), deadline);
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
            call_head(end, Subject::Named(method.as_bytes()), deadline),
            args,
            end.settings.max_message,
            |message| end.send_call(message, WhenFull::Wait(deadline), |_| ()),
        )?;
        sent.map_err(|SendFailed { error, .. }| {
            end.take_last_deliveries(deadline);
            error
        })
    }

    /// Sends an event with these bytes as its value; waits for room as [`emit`](Self::emit) does.
    ///
    /// No types are compared: bytes have none. A handler that takes a type decodes them as that type.
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

    /// Handles an event, the value of which are the bytes that were sent. Otherwise as [`listen`](Self::listen).
    ///
    /// No types are compared: the handler gets the bytes of a value of any type.
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

    /// Serves a method with bytes for arguments and bytes for a result. Otherwise as [`serve`](Self::serve).
    ///
    /// No types are compared: the handler gets the bytes of arguments of any types. A caller that wants
    /// a type decodes the result as that type.
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

    /// As [`serve_bytes`](Self::serve_bytes), for handlers that can fail, as decoding can: the error's text becomes [`Error::Remote`](crate::Error::Remote) for the caller.
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
