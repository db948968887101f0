//! File descriptors of the library, in a program that may close them.
//!
//! Daemons and sandboxes close every descriptor above the standard streams, by `close_range(2)` or
//! by a loop. The kernel then gives the same numbers to the next files that the program opens. So
//! a number alone does not say that the file behind it is still the library's.

#[expect(unsafe_code, reason = "a descriptor that is not closed where its value ends")]
mod descriptor;
pub(crate) mod notifier;
pub(crate) mod poller;
#[expect(unsafe_code, reason = "descriptors that were copied, and a limit that is asked for")]
pub(crate) mod renumber;

pub(crate) use descriptor::Descriptor;
