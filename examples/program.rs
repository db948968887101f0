//! Shows a worker that is a program of its own, started by `spawn`.
//!
//! Run it with `cargo run --release --example program`.
//!
//! Any program can be the worker, if it calls `coprocess::parent()`. To stay in one file, this
//! example starts itself with the argument `worker`. A real parent would name another executable,
//! whose `main` does what `worker` does below.

use std::env;
use std::process::Command;

use coprocess::Coprocess;
use coprocess::serde_bytes::ByteBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if env::args().nth(1).as_deref() == Some("worker") {
        return Ok(worker()?);
    }

    let mut program = Command::new(env::current_exe()?);
    // The caller sets up the command: arguments, environment, working directory, standard streams.
    program.arg("worker").env("MODULUS", "65521");
    let worker = coprocess::spawn(program)?;
    println!("parent {}, worker {}", std::process::id(), worker.peer_id());

    // Bytes travel fastest as `serde_bytes` types.
    let data = ByteBuf::from(b"Wikipedia".to_vec());
    let checksum: u32 = worker.call("adler32", &data)?;
    println!("the checksum is {checksum:#010x}");

    // The end of the worker is an error here, not the end of the parent.
    let crashed: coprocess::Result<()> = worker.call("crash", 3);
    match crashed {
        Ok(()) => println!("the worker survived"),
        Err(error) => println!("the call failed: {error}"),
    }
    if let Some(status) = worker.close()? {
        println!("the worker ended with {status}");
    }
    Ok(())
}

/// Serves the parent. In the worker's own program, this would be `main`.
fn worker() -> coprocess::Result<()> {
    let modulus: u32 =
        env::var("MODULUS").ok().and_then(|text| text.parse().ok()).unwrap_or(65_521);
    let parent: Coprocess = coprocess::parent()?;
    parent.serve("adler32", move |data: ByteBuf| adler32(&data, modulus));
    parent.serve("crash", |code: i32| -> () { std::process::exit(code) });
    parent.run() // dispatch until the parent closes
}

fn adler32(data: &[u8], modulus: u32) -> u32 {
    let (a, b) = data.iter().fold((1, 0), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % modulus;
        (a, (b + a) % modulus)
    });
    b << 16 | a
}
