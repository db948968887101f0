//! Refusals of events, and handlers that are replaced meanwhile. A sender that emits the right type
//! is not refused for ever, nor for a while once it was welcome again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use coprocess::{Coprocess, Error};

use crate::common::{eventually, within};

const LIMIT: Duration = Duration::from_secs(100);

/// Lets a call wait in its handler, so that what comes behind it waits in the ring.
#[test]
fn a_refusal_is_not_heard_twice() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.listen("value", |_: String| {});
            let weak = parent.downgrade();
            parent.listen("go", move |()| {
                weak.upgrade()
                    .unwrap()
                    .call_with("block", (), |_: coprocess::Result<()>| {})
                    .unwrap()
            });
            let weak = parent.downgrade();
            parent.listen("switch", move |()| {
                let parent = weak.upgrade().unwrap();
                parent.call_with("emit", (), |_: coprocess::Result<()>| {}).unwrap();
                parent.listen("value", |_: u32| {});
            });
        })
        .unwrap();
        let (entered, is_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        co.serve("block", move |()| {
            entered.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
        });
        let (weak, (tell, told)) = (co.downgrade(), mpsc::channel());
        co.serve("emit", move |()| {
            tell.send(weak.upgrade().unwrap().emit("value", 5_u32)).unwrap()
        });
        co.emit("go", ()).unwrap();
        is_entered.recv_timeout(LIMIT).unwrap();
        // The refusal, the call and the welcome are in the ring, and the handler keeps them there.
        co.emit("value", 5_u32).unwrap();
        co.emit("switch", ()).unwrap();
        co.emit("unheard", ()).unwrap();
        // This one, and that this end listens.
        eventually("all was handled", || co.stats().events_unheard_by_peer == 2);
        assert_eq!(co.stats().events_mistyped_by_peer, 1);
        co.emit("value", 5_u32).expect("it is welcome again");
        release.send(()).unwrap();
        // By now the refusal was received in its turn, and the welcome was not.
        told.recv_timeout(LIMIT).unwrap().expect("what was looked at before is no news");
    });
}

/// Replaces the handler while the former one refuses, from another thread.
fn wavering(parent: Coprocess) {
    let armed = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let (weak, is_armed, is_done) = (parent.downgrade(), armed.clone(), done.clone());
    std::thread::spawn(move || {
        for round in 0_u64.. {
            while !is_armed.load(Ordering::Acquire) {
                if weak.upgrade().is_none() {
                    return;
                }
                std::hint::spin_loop();
            }
            let Some(parent) = weak.upgrade() else { return };
            let before = parent.stats().events_mistyped;
            is_armed.store(false, Ordering::Release);
            while parent.stats().events_mistyped == before && parent.is_connected() {
                std::hint::spin_loop();
            }
            (0..round % 40 * 20).for_each(|_| std::hint::spin_loop());
            parent.listen("value", |_: u32| {});
            is_done.fetch_add(1, Ordering::AcqRel);
        }
    });
    // Something else to send, so that notices wait for each other.
    let weak = parent.downgrade();
    std::thread::spawn(move || {
        let large = vec![0_u8; 60_000];
        while weak.upgrade().is_some_and(|parent| parent.emit_bytes("large", &large).is_ok()) {}
    });
    let weak = parent.downgrade();
    parent.serve("arm", move |()| {
        weak.upgrade().unwrap().listen("value", |_: String| {});
        armed.store(true, Ordering::Release);
        eventually("the other thread is ready", || !armed.load(Ordering::Acquire));
    });
    parent.serve("done", move |()| done.load(Ordering::Acquire));
}

#[test]
fn a_welcome_is_not_overtaken_by_its_refusal() {
    within(LIMIT, || {
        let co = coprocess::fork(wavering).unwrap();
        co.listen_bytes("large", |_| {});
        for round in 1..=200_u64 {
            co.call::<()>("arm", ()).unwrap();
            co.emit("value", 5_u32).unwrap();
            eventually("the handler is replaced", || co.call::<u64>("done", ()).unwrap() == round);
            eventually("the emitter is welcome", || match co.emit("value", 5_u32) {
                Ok(()) => true,
                Err(Error::Types { .. }) => false,
                Err(error) => panic!("{error}"),
            });
        }
    });
}
