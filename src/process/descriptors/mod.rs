//! Descriptors of the library, in a program that may close them.

#[expect(unsafe_code, reason = "descriptors that were copied, and a limit that is asked for")]
pub(crate) mod above_streams;
#[expect(unsafe_code, reason = "a descriptor that is not closed where its value ends")]
mod descriptor;
pub(crate) mod notifier;
pub(crate) mod poller;

pub(crate) use descriptor::Descriptor;
