//! One copy within one process: the least that moving a large value costs.

use std::hint::black_box;

use crate::measure::Subject;

/// Copies `size` bytes from one buffer to another. Both buffers are touched before.
pub(crate) fn memcpy(size: usize, name: String) -> Subject<'static> {
    // Not zeros: for zeros an allocator has pages that do not exist yet.
    let from = vec![0xa5_u8; size];
    let mut to = vec![0x5a_u8; size];
    Subject::new(name, "one thread of one process, no notification", move |count, timing| {
        let elapsed = timing.laps(count, |_| {
            black_box(&mut to).copy_from_slice(black_box(&from));
            black_box(&to);
            Ok(())
        })?;
        Ok(elapsed.into())
    })
}
