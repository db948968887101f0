//! What the process watcher does to an end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::end::End;
use crate::process::Worker;
use crate::process::watch::{self, News};

/// Watches the worker at the other end of `end`.
pub(crate) fn watch_worker(end: &Arc<End>, worker: &Arc<Worker>) -> io::Result<()> {
    let end = end.clone();
    let tell = move |news| match news {
        News::Gone(reason) => {
            end.peer_gone(reason);
            None
        }
        News::Ended(reason) => {
            end.peer_gone(reason);
            end.endings.tell_elsewhere(reason)
        }
    };
    watch::watch_worker(worker, Arc::new(tell))
}

/// Watches the parent at the other end of `end`.
pub(crate) fn watch_parent(
    end: &Arc<End>,
    lifeline: Arc<OwnedFd>,
    pidfd: Option<OwnedFd>,
    child_of: Option<u32>,
) -> io::Result<()> {
    let told = end.clone();
    let tell = move |news| match news {
        News::Gone(reason) => {
            told.peer_gone(reason);
            None
        }
        News::Ended(reason) => {
            told.peer_gone(reason);
            // The pair may have ended before, for another reason.
            told.endings.tell_elsewhere(told.how_it_went())
        }
    };
    let end = end.clone();
    let close_grace = move || if end.watch.is_closed() { end.terms.close_timeout } else { Duration::ZERO };
    watch::watch_parent(lifeline, pidfd, child_of, Arc::new(tell), close_grace)
}
