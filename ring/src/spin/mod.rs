//! Decides how long a wait spins before it sleeps.

mod processors;
mod quota;
pub(crate) mod strategy;
pub(crate) mod wait;
mod yielding;
