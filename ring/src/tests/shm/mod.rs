//! Tests segments: their bytes, and what is checked before a segment is used.

#[cfg(not(loom))]
mod attach;
#[cfg(not(loom))]
mod holes;
#[cfg(all(feature = "named", not(loom)))]
mod named;
#[cfg(not(loom))]
mod padding;
