//! Several interfaces on one end, and of one server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clocks::{Clock, ClockClient, Watch};
use crate::common::{LIMIT, within};

#[test]
fn two_interfaces_of_one_name_on_one_end() {
    mod other {
        #[coprocess::interface(name = "other.Clock")]
        pub(crate) trait Clock {
            fn now(&self) -> String;
        }

        pub(crate) struct Speaking;

        impl Clock for Speaking {
            fn now(&self) -> String {
                "one o'clock".to_owned()
            }
        }
    }
    use other::Clock as _;

    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            Clock::serve(Watch, &parent);
            other::Speaking.serve(&parent);
        })
        .unwrap();
        assert_eq!(ClockClient::new(&co).unwrap().now().unwrap(), 1);
        assert_eq!(other::ClockClient::new(&co).unwrap().now().unwrap(), "one o'clock");
    });
}

/// Both have a `serve`, so each is called by the name of its trait.
#[test]
fn one_server_of_two_interfaces() {
    #[coprocess::interface]
    trait Reader {
        fn read(&self) -> u64;
    }

    #[coprocess::interface]
    trait Writer {
        fn write(&self, number: u64) -> u64;
    }

    #[derive(Default)]
    struct Cell(AtomicU64);

    impl Reader for Cell {
        fn read(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Writer for Cell {
        fn write(&self, number: u64) -> u64 {
            self.0.swap(number, Ordering::Relaxed)
        }
    }

    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let cell = Arc::new(Cell::default());
            Reader::serve(Arc::clone(&cell), &parent);
            Writer::serve(cell, &parent);
        })
        .unwrap();
        let (reader, writer) = (ReaderClient::new(&co).unwrap(), WriterClient::new(&co).unwrap());
        assert_eq!(
            (reader.read().unwrap(), writer.write(7).unwrap(), reader.read().unwrap()),
            (0, 0, 7)
        );
    });
}
