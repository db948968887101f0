//! Makes and maps the memory that two processes share, and defines its layout.

#[cfg(not(loom))]
mod file;
#[cfg_attr(loom, expect(dead_code, reason = "no segments are made under the model checker"))]
pub(crate) mod layout;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "forming references to the atomics in mapped memory")]
pub(crate) mod mapped;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "mapping memory")]
pub(crate) mod memfd;
pub(crate) mod memory;
#[cfg(all(feature = "named", not(loom)))]
#[expect(unsafe_code, reason = "memory that a package has mapped")]
pub(crate) mod named;
