//! What the tests of types share.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use coprocess::{Coprocess, Error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::common::check_error;

/// Checks that an operation has failed for its types, and what the error says of them.
#[track_caller]
pub(crate) fn is_mistyped<T>(result: coprocess::Result<T>, name: &str, sent: &str, wanted: &str) {
    match result {
        Err(ref error @ Error::Types { name: ref of, sent: ref is, wanted: ref takes }) => {
            assert_eq!((&**of, &**is, &**takes), (name, sent, wanted));
            check_error(error, &format!("`{name}` takes {wanted}, but was sent {sent}"));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("`{name}` has taken {sent} for {wanted}"),
    }
}

/// What handlers were given, by the names of the handlers.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<HashMap<String, Vec<String>>>>);

impl Log {
    pub(crate) fn add(&self, name: &str, value: &dyn Debug) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().push(format!("{value:?}"));
    }

    /// Takes what the handler of a name was given.
    pub(crate) fn take(&self, name: &str) -> Vec<String> {
        self.0.lock().unwrap().remove(name).unwrap_or_default()
    }

    pub(crate) fn serve(&self, end: &Coprocess) {
        let log = self.clone();
        end.serve("log", move |name: String| log.take(&name));
    }

    pub(crate) fn listen<T: DeserializeOwned + Debug + 'static>(
        &self,
        end: &Coprocess,
        event: &str,
    ) {
        let (log, name) = (self.clone(), event.to_owned());
        end.listen(event, move |value: T| log.add(&name, &value));
    }

    pub(crate) fn hear<T: DeserializeOwned + Debug + 'static>(
        &self,
        end: &Coprocess,
        method: &str,
    ) {
        let (log, name) = (self.clone(), method.to_owned());
        end.serve(method, move |value: T| log.add(&name, &value));
    }
}

/// Returns what the peer's handler of a name was given since the last time.
#[track_caller]
pub(crate) fn log(end: &Coprocess, name: &str) -> Vec<String> {
    end.call("log", name).unwrap()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) x: u64,
    pub(crate) y: i32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sparse {
    pub(crate) x: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) y: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Shape {
    Empty,
    Circle(f64),
    Line(u64, u64),
    Box { width: u32, height: u32 },
}

pub(crate) fn map<K: Ord, V, const N: usize>(pairs: [(K, V); N]) -> BTreeMap<K, V> {
    BTreeMap::from(pairs)
}
