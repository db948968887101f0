//! What the tests of interfaces share.

use coprocess::Error;
use coprocess::interface::InterfaceError;

use crate::common::check_error;

#[track_caller]
pub(crate) fn misfit<T: std::fmt::Debug>(made: coprocess::Result<T>) -> InterfaceError {
    match made {
        Err(Error::Interface { cause, interface }) => {
            let error = Error::Interface { cause: cause.clone(), interface };
            check_error(&error, &format!("`{interface}`"));
            assert_eq!(std::error::Error::source(&error).unwrap().to_string(), cause.to_string());
            *cause
        }
        other => panic!("{other:?}"),
    }
}

/// Returns the types of an [`Error::Types`]: what was sent, and what was wanted.
#[track_caller]
pub(crate) fn types<T: std::fmt::Debug>(
    called: coprocess::Result<T>,
    method: &str,
) -> (String, String) {
    match called {
        Err(Error::Types { name, sent, wanted }) => {
            assert!(name.ends_with(&format!(".{method}")), "{name}");
            check_error(
                &Error::Types { name: name.clone(), sent: sent.clone(), wanted: wanted.clone() },
                &format!("`{name}` takes {wanted}"),
            );
            (sent, wanted)
        }
        other => panic!("{other:?}"),
    }
}
