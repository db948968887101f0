//! The orderly end of a pair.

use coprocess::Coprocess;

use crate::Result;

/// Closes a pair, and checks that the worker ends with status 0.
pub(crate) fn close(co: &Coprocess) -> Result<()> {
    match co.close()? {
        Some(status) if status.success() => Ok(()),
        status => Err(format!("the worker ended with {status:?}").into()),
    }
}
