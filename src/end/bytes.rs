//! Answers a call with bytes, which are copied into the message without serde.
//!
//! [`answer`](crate::end::answer) explains what holds for each answer.

use std::mem::needs_drop;
use std::sync::Arc;

use crate::end::End;
use crate::recv::handlers::Incoming;
use crate::wire::header::Header;
use crate::wire::message::Message;

impl End {
    /// Answers a call with bytes, from within its handler.
    pub(crate) fn settle_bytes<R: AsRef<[u8]>>(self: &Arc<Self>, call: &Incoming<'_>, result: R) {
        let (id, method) = (call.id, call.method);
        let when_full = self.answers_when_full();
        let send = |message: &mut Message<'_>| self.send(message, when_full);
        let sent = Message::new()
            .deliver_bytes(Header::Answer(id), result.as_ref(), self.settings.max_message, send)
            .flatten();
        if let Err(error) = sent {
            // If the result was too large, the caller is told. Any other error means that the call
            // has no caller any more.
            let _ = self.answer_failed(id, method, *error, when_full);
        }
        if needs_drop::<R>() {
            // The call is answered: a panic from here on must not answer it again.
            self.catch_user_panic(|| drop(result));
        }
    }
}
