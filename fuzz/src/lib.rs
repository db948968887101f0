//! What the fuzz targets share: the other side's view of a pair, written from the descriptions of the layout, not with the library's code.

pub mod kinds;
pub mod messages;
pub mod segment;
