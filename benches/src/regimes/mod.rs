//! Sets of subjects that take turns, one a file.

pub mod backends;
pub mod bulk;
pub mod latency;
pub mod life;
pub mod scaling;
pub mod stream;
pub mod waiting;
