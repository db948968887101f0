//! Registers the handlers of an interface in one step: the peer finds all of them, or none.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::description::Description;
use crate::api::coprocess::Coprocess;
use crate::api::reply::Reply;
use crate::end::End;
use crate::recv::handlers::Handlers;

/// Collects the handlers of an interface.
#[doc(hidden)]
#[derive(Default)]
pub struct Served {
    handlers: Handlers<End>,
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
        self.handlers.serve(name, move |end, call| {
            end.answer_with(call, Ok(handler(call.args.read()?)));
            Ok(())
        });
    }

    /// Adds a method that is answered later, as [`Coprocess::serve_deferred`] does.
    pub fn served_later<A: DeserializeOwned + 'static, R: Serialize + 'static>(
        &mut self,
        name: &str,
        handler: impl Fn(A, Reply<R>) + Send + Sync + 'static,
    ) {
        self.handlers.serve(name, move |end, call| {
            let args = call.args.read()?;
            if let Some(reply) = Reply::admit(end, call) {
                handler(args, reply);
            }
            Ok(())
        });
    }

    /// Adds an event, as [`Coprocess::listen`] does.
    pub fn event<T: DeserializeOwned + 'static>(
        &mut self,
        name: &str,
        handler: impl Fn(T) + Send + Sync + 'static,
    ) {
        self.handlers.listen(name, move |value| {
            handler(value.read()?);
            Ok(())
        });
    }

    /// Adds the description, and registers everything.
    pub fn on(mut self, co: &Coprocess, description: &'static Description) {
        self.method(&description.question(), |()| description.answer());
        let added = self.handlers;
        co.register(|handlers| {
            handlers.extend(&added);
        });
    }
}
