//! Connects an end with the process watcher.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::end::End;
use crate::process::Worker;
use crate::process::watch::{self, PeerStatus};

/// Watches the worker, the peer of this end.
pub(super) fn watch_worker(end: &Arc<End>, worker: &Arc<Worker>) -> io::Result<()> {
    let end = end.clone();
    let report = move |status| match status {
        PeerStatus::Gone(reason) => {
            end.peer_gone(reason);
            None
        }
        PeerStatus::Ended(reason) => {
            end.peer_gone(reason);
            end.endings.tell_on_new_thread(reason)
        }
    };
    watch::watch_worker(worker, Arc::new(report))
}

/// Watches the parent, the peer of this end.
pub(super) fn watch_parent(
    end: &Arc<End>,
    lifeline: Arc<OwnedFd>,
    pidfd: Option<OwnedFd>,
    child_of: Option<u32>,
) -> io::Result<()> {
    let told = end.clone();
    let report = move |status| match status {
        PeerStatus::Gone(reason) => {
            told.peer_gone(reason);
            None
        }
        PeerStatus::Ended(reason) => {
            told.peer_gone(reason);
            // The pair may have ended before the parent did, for another reason.
            told.endings.tell_on_new_thread(told.how_it_went())
        }
    };
    let end = end.clone();
    let close_grace =
        move || if end.watch.is_closed() { end.settings.close_timeout } else { Duration::ZERO };
    watch::watch_parent(lifeline, pidfd, child_of, Arc::new(report), close_grace)
}
