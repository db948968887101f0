//! Shows a codec of your own: JSON, which describes itself, in place of postcard.
//!
//! Run it with `cargo run --release --example json`.
//!
//! The methods whose names end in `_bytes` carry any bytes that a program makes. A few lines turn
//! them into calls with values that serde knows, here as JSON. So `serde_json::Value`,
//! `#[serde(flatten)]` and optional fields work, which a compact format cannot have.

use coprocess::Coprocess;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A book: its known fields, and all other fields in `more`.
#[derive(Debug, Serialize, Deserialize)]
struct Book {
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    year: Option<u16>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Calls a method with JSON arguments, and decodes its JSON result.
fn call<R: DeserializeOwned>(
    co: &Coprocess,
    method: &str,
    args: &impl Serialize,
) -> std::result::Result<R, Box<dyn std::error::Error>> {
    let answer = co.call_bytes(method, &serde_json::to_vec(args)?)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Serves a method with JSON arguments and a JSON result.
fn serve<A: DeserializeOwned, R: Serialize>(
    co: &Coprocess,
    method: &str,
    handler: impl Fn(A) -> R + Send + Sync + 'static,
) {
    co.try_serve_bytes(method, move |args| {
        let result = handler(serde_json::from_slice(args)?);
        serde_json::to_vec(&result)
    });
}

/// Describes books, in a process of its own.
fn worker(parent: Coprocess) {
    serve(&parent, "describe", |book: Book| match book.year {
        Some(year) => format!("{} of {year}, and {} more", book.title, book.more.len()),
        None => format!("{}, and {} more", book.title, book.more.len()),
    });
    serve(&parent, "pages", |book: Value| book["pages"].clone());
    parent.listen_bytes("log", |line| {
        let entry: serde_json::Result<Value> = serde_json::from_slice(line);
        match entry {
            Ok(entry) => println!("log: {}", entry["message"]),
            Err(error) => println!("log: not JSON: {error}"),
        }
    });
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    coprocess::init();
    let worker = coprocess::fork(worker)?;

    let book =
        json!({ "title": "Middlemarch", "pages": 880, "author": { "name": "George Eliot" } });
    println!("{}", call::<String>(&worker, "describe", &book)?);
    println!("{} pages", call::<Value>(&worker, "pages", &book)?);

    // An event is sent likewise. The buffer is used again.
    let mut line = Vec::new();
    for message in ["read", "put back"] {
        line.clear();
        serde_json::to_writer(&mut line, &json!({ "level": 3, "message": message }))?;
        worker.emit_bytes("log", &line)?;
    }

    // A value that is no book is an error of its call, and the error says why.
    let refused = call::<String>(&worker, "describe", &json!({ "year": 1871 }));
    println!("{}", refused.expect_err("a book has a title"));

    worker.close()?;
    Ok(())
}
