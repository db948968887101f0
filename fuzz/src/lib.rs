//! Provides what the fuzz targets share: the peer's view of a pair. It is written from the
//! descriptions of the layout and the format, without the library's code.

pub mod kinds;
pub mod messages;
pub mod segment;
