//! What hostile workers do. Each file has the programs and the tests of one kind of attack.

pub(crate) mod afterlife;
pub(crate) mod bells;
pub(crate) mod file;
pub(crate) mod floods;
pub(crate) mod handshake;
pub(crate) mod messages;
pub(crate) mod words;

/// Runs a parent against a worker, with its own thread and with the library's, in a process of its
/// own.
macro_rules! survives {
    ($role:expr) => {
        $crate::attacks::survives!($role, $crate::parent::Parent::default(), |_| {})
    };
    ($role:expr, $parent:expr, $check:expr) => {
        $crate::common::within($crate::common::LIMIT, || {
            $crate::common::alone!({
                for runs in [false, true] {
                    let parent = $crate::parent::Parent { runs, ..$parent };
                    let seen = parent.meets($role);
                    $crate::parent::report($role, &seen);
                    let check: fn(&$crate::parent::Seen) = $check;
                    check(&seen);
                }
            });
        })
    };
}
pub(crate) use survives;
