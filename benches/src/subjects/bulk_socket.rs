//! Large values through a UNIX stream socket: written whole, and read whole into one buffer.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::Result;
use crate::measure::Subject;
use crate::peer::{Peer, input_and_output, read_or_end};
use crate::subjects::batch::in_batches;

pub(crate) const PEER: &str = "bulk-socket";

/// A socket whose second process reads `batch` values of `size` bytes, then confirms them by one
/// byte.
pub(crate) struct BulkSocket {
    socket: UnixStream,
    size: usize,
    batch: u32,
    peer: Peer,
}

impl BulkSocket {
    /// Starts the second process, which sleeps until there is something to read.
    pub(crate) fn start(size: usize, batch: u32) -> Result<BulkSocket> {
        let (socket, theirs) = UnixStream::pair()?;
        let args = [size.to_string(), batch.to_string()];
        let peer = Peer::start(
            PEER,
            &args.each_ref().map(String::as_str),
            OwnedFd::from(theirs),
            Stdio::null(),
        )?;
        Ok(BulkSocket { socket, size, batch, peer })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.peer.id()
    }

    /// Sends values and waits for the confirmation of each batch.
    pub(crate) fn send(&self, name: String) -> Subject<'_> {
        let value = vec![0xa5_u8; self.size];
        Subject::new(
            name,
            "no name, no length: both sides know what comes",
            move |count, timing| {
                let send = || {
                    for _ in 0..self.batch {
                        (&self.socket).write_all(&value)?;
                    }
                    Ok((&self.socket).read_exact(&mut [0])?)
                };
                Ok(in_batches(timing, count, self.batch, send)?.into())
            },
        )
    }
}

/// Runs in the second process: reads and confirms until the peer hangs up.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [size, batch] = args else {
        return Err("bulk-socket: takes a size and a number of values".into());
    };
    let (mut socket, _) = input_and_output()?;
    let mut buffer = vec![0_u8; size.parse()?];
    let batch: u32 = batch.parse()?;
    loop {
        for _ in 0..batch {
            if !read_or_end(&mut socket, &mut buffer)? {
                return Ok(());
            }
            black_box(&buffer);
        }
        socket.write_all(&[1])?;
    }
}
