//! The handlers of an interface, registered in one step: the other end finds all of it, or nothing.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::description::Description;
use crate::coprocess::Coprocess;
use crate::decode::decode;
use crate::registry::{Handlers, Server};
use crate::reply::Reply;

/// What a server of an interface will handle.
#[doc(hidden)]
#[derive(Default)]
pub struct Served {
    handlers: Handlers,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}

impl Served {
    /// Adds a method, as [`Coprocess::serve`] does.
    pub fn method<A: DeserializeOwned + 'static, R: Serialize + 'static>(
        &mut self,
        name: &str,
        handler: impl Fn(A) -> R + Send + Sync + 'static,
    ) {
        let server = Server {
            name: name.into(),
            serve: Arc::new(move |end, id, method, args| match decode(args) {
                Ok(args) => end.settle(id, method, Ok(handler(args))),
                Err(error) => end.refuse_arguments(id, method, &error),
            }),
        };
        self.handlers.methods.insert(name.as_bytes().into(), server);
    }

    /// Adds a method that is answered later, as [`Coprocess::serve_deferred`] does.
    pub fn deferred<A: DeserializeOwned + 'static, R: Serialize + 'static>(
        &mut self,
        name: &str,
        handler: impl Fn(A, Reply<R>) + Send + Sync + 'static,
    ) {
        let server = Server {
            name: name.into(),
            serve: Arc::new(move |end, id, method, args| match decode(args) {
                Ok(args) => {
                    if let Some(reply) = Reply::admit(end, id, method) {
                        handler(args, reply);
                    }
                }
                Err(error) => end.refuse_arguments(id, method, &error),
            }),
        };
        self.handlers.methods.insert(name.as_bytes().into(), server);
    }

    /// Adds an event, as [`Coprocess::listen`] does.
    pub fn event<T: DeserializeOwned + 'static>(&mut self, name: &str, handler: impl Fn(T) + Send + Sync + 'static) {
        let listener = Arc::new(move |value: &[u8]| {
            handler(decode(value)?);
            Ok(())
        });
        self.handlers.events.insert(name.as_bytes().into(), listener);
    }

    /// Adds the description, and registers everything.
    pub fn on(mut self, co: &Coprocess, description: &'static Description) {
        self.method(&description.question(), |()| description.answer());
        self.method(&description.question_of_types(), |(method, place): (String, usize)| description.answer_of_types(&method, place));
        let mut added = self.handlers;
        co.register(|handlers| {
            handlers.events.extend(added.events.drain());
            handlers.methods.extend(added.methods.drain());
        });
    }
}
