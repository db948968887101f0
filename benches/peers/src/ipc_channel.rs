//! Measures ipc-channel: typed channels over sockets, as between the processes of a browser.

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use coprocess_bench::Result;
use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::contender::{Contender, Started};
use crate::item::{EPOCH, same};
use crate::look::look_for;
use crate::second::{self, Second, argument};

pub(crate) const ECHO: &str = "ipc-channel-echo";
pub(crate) const SWALLOW: &str = "ipc-channel-swallow";

/// Sends a number there and back. Both sides wait in `recv`, as the documentation shows.
pub(crate) const ROUND_TRIP: Contender = Contender {
    name: "ipc-channel",
    note: "two channels: no methods, nothing ties an answer to its question; \
           no bound on what is sent",
    start: |_| round_trip(Wait::Receive),
};

/// Sends a number there and back. Both sides call `try_recv` in a loop.
pub(crate) const ROUND_TRIP_ASKING: Contender = Contender {
    name: "ipc-channel, try_recv in a loop",
    note: "never sleeps, a system call at each look; no methods, \
           nothing ties an answer to its question",
    start: |_| round_trip(Wait::Ask),
};

/// Sends a struct of 64 bytes one way.
pub(crate) const STREAM: Contender = Contender {
    name: "ipc-channel, 64 B struct",
    note: "no names; no bound on what is sent",
    start: |_| {
        let (server, name) = IpcOneShotServer::<IpcSender<Reading>>::new()?;
        let other = Second::start(SWALLOW, &[&name])?;
        let readings = accept(server)?;
        let send = move |turn, _| {
            Ok(readings.send(Reading { turn, at_nanos: EPOCH + turn, values: [0.5; 6] })?)
        };
        Ok(Started::stream(other.ready()?, send))
    },
};

/// Takes 64 bytes in memory. Encoded, it takes about as many, since the time needs all its bytes.
#[derive(Serialize, Deserialize)]
struct Reading {
    turn: u64,
    at_nanos: u64,
    values: [f64; 6],
}

/// Holds the ends of two channels for the first process: the first message of the second process.
type Ends = (IpcSender<u64>, IpcReceiver<u64>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Receive,
    Ask,
}

impl Wait {
    fn name(self) -> &'static str {
        match self {
            Wait::Receive => "receive",
            Wait::Ask => "ask",
        }
    }
}

fn round_trip(wait: Wait) -> Result<Started> {
    let (server, name) = IpcOneShotServer::<Ends>::new()?;
    let other = Second::start(ECHO, &[&name, wait.name()])?;
    let (requests, responses) = accept(server)?;
    Ok(Started::round_trip(other.ready()?, move |turn| {
        requests.send(EPOCH + turn)?;
        same(receive(&responses, wait)?, EPOCH + turn)
    }))
}

pub(crate) fn echo(args: &[String]) -> Result<()> {
    let (requests, asked) = ipc::channel()?;
    let (answers, responses) = ipc::channel()?;
    IpcSender::<Ends>::connect(argument(args, 0, "server")?.to_owned())?
        .send((requests, responses))?;
    let wait = if argument(args, 1, "way to wait")? == Wait::Ask.name() {
        Wait::Ask
    } else {
        Wait::Receive
    };
    second::obey(|count| {
        for _ in 0..count {
            answers.send(receive(&asked, wait)?)?;
        }
        Ok(count)
    })
}

pub(crate) fn swallow(args: &[String]) -> Result<()> {
    let (sender, readings) = ipc::channel::<Reading>()?;
    IpcSender::connect(argument(args, 0, "server")?.to_owned())?.send(sender)?;
    second::obey(|count| {
        let mut sum = 0;
        for _ in 0..count {
            sum += black_box(readings.recv()?).turn;
        }
        Ok(sum)
    })
}

fn receive(channel: &IpcReceiver<u64>, wait: Wait) -> Result<u64> {
    match wait {
        Wait::Receive => Ok(channel.recv()?),
        Wait::Ask => look_for("message of ipc-channel", || match channel.try_recv() {
            Ok(message) => Ok(Some(message)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::IpcError(error)) => Err(error.into()),
        }),
    }
}

/// Waits for the first message, with a limit that the library does not have: a process that died
/// sends none.
fn accept<T: DeserializeOwned + Serialize + Send + 'static>(
    server: IpcOneShotServer<T>,
) -> Result<T> {
    let (given, accepted) = mpsc::channel();
    // If no process connects, this thread stays until the end of this process.
    thread::Builder::new().name("ipc-channel".to_owned()).spawn(move || {
        let first = server.accept().map(|(_, first)| first).map_err(|error| error.to_string());
        let _ = given.send(first); // fails if the message came too late
    })?;
    let first = accepted
        .recv_timeout(Duration::from_secs(10))
        .map_err(|_| "the second process of ipc-channel does not connect")?;
    Ok(first?)
}
