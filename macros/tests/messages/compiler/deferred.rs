//! The server of a deferred method gets a reply, and its client gets a result.

use coprocess::Reply;

#[coprocess::interface]
trait Index {
    #[deferred]
    fn find(&self, what: String) -> u64;
}

struct Impatient;

impl Index for Impatient {
    fn find(&self, what: String) -> u64 {
        what.len() as u64
    }
}

struct Mistaken;

impl Index for Mistaken {
    fn find(&self, what: String, reply: Reply<u64>) {
        let _ = reply.send(what);
    }
}

fn main() {}
