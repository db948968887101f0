//! Tests how long a message may be that is sent without waiting.

use crate::Progress;
use crate::tests::common::{Numbers, message, pairs};

/// This holds wherever the two sides are in the ring, if all was received.
#[test]
fn the_longest_message_has_space_in_an_empty_ring() {
    for slots in [32, 64, 256, 4096] {
        for pair in pairs(slots) {
            let (mut sender, mut receiver) = pair.ends(1 << 20);
            let most = sender.most_at_once();
            let bytes = slots * 128;
            assert!(most > bytes / 2 && most < bytes, "{most} of {bytes}");
            let mut numbers = Numbers(5);
            let mut buffer = Vec::new();
            for seed in 0..200 {
                for _ in 0..numbers.below(40) {
                    let bytes = numbers.below(200);
                    assert_eq!(sender.send(&message(seed, bytes), bytes).unwrap(), Progress::Sent);
                    assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(bytes));
                }
                if numbers.below(3) == 0 {
                    // A message that has no space is taken back first.
                    let bytes = slots * 128;
                    assert!(matches!(
                        sender.send(&message(seed, bytes), bytes).unwrap(),
                        Progress::NoSpace(_)
                    ));
                    sender.abandon();
                    assert_eq!(receiver.receive(&mut buffer).unwrap(), None);
                }
                let sent = message(seed, most);
                assert_eq!(
                    sender.send(&sent, most).unwrap(),
                    Progress::Sent,
                    "{most} bytes, {seed}"
                );
                assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(most));
                assert_eq!(buffer, sent);
            }
        }
    }
}
