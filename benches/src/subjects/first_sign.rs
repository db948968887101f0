//! A new process, from its start until it is of use: a worker of coprocess, and a bare process that
//! writes one byte.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use coprocess::{Builder, Coprocess};

use crate::Result;
use crate::measure::Subject;
use crate::peer::arguments;
use crate::subjects::close::close;

pub(crate) const PEER: &str = "first-byte";

fn worker(co: Coprocess) {
    co.serve("echo", |value: u64| value);
}

/// Measures from `fork` until the first call is answered. Closing does not count.
pub(crate) fn answer(name: &str) -> Subject<'static> {
    answer_of(name, Builder::new())
}

/// Measures the same with the settings of `builder`.
pub(crate) fn answer_of(name: impl Into<String>, builder: Builder) -> Subject<'static> {
    Subject::new(name, "", move |count, mut timing| {
        let mut total = Duration::ZERO;
        for turn in 0..count {
            let start = Instant::now();
            let co = builder.clone().fork(worker)?;
            let answer: u64 = co.call("echo", turn)?;
            let elapsed = start.elapsed();
            total += elapsed;
            timing.record(elapsed);
            if answer != turn {
                return Err("the first answer is wrong".into());
            }
            close(&co)?;
        }
        Ok(total.into())
    })
}

/// Measures from `Command::spawn` of this executable until it has written one byte to a pipe. Its
/// end does not count.
pub(crate) fn byte(name: &str) -> Subject<'static> {
    Subject::new(name, "no handshake, no request", |count, mut timing| {
        let mut total = Duration::ZERO;
        for _ in 0..count {
            let start = Instant::now();
            let mut child = Command::new("/proc/self/exe")
                .args(arguments(PEER))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()?;
            let read = child.stdout.take().map_or(Ok(()), |mut output| output.read_exact(&mut [0]));
            let elapsed = start.elapsed();
            total += elapsed;
            timing.record(elapsed);
            let status = child.wait()?;
            read?;
            if !status.success() {
                return Err(format!("it ended with {status}").into());
            }
        }
        Ok(total.into())
    })
}

/// Runs in the second process without coprocess: writes one byte, then sleeps until its input ends.
pub(crate) fn serve(_: &[String]) -> Result<()> {
    io::stdout().write_all(&[1])?;
    io::stdout().flush()?;
    match io::stdin().read(&mut [0])? {
        0 => Ok(()),
        _ => Err("first-byte: takes no input".into()),
    }
}
