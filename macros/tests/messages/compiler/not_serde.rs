//! Arguments and results must be types that serde can encode and decode.

struct Handle;

#[derive(serde::Serialize)]
struct Half;

#[coprocess::interface]
trait Files {
    fn close(&self, handle: Handle);
    fn open(&self, path: &str) -> Handle;
    fn all(&self) -> Vec<Half>;
    fn merge(&self, parts: &[Half], into: &Half);
    #[event]
    fn closed(&self, at: u64, by: std::sync::mpsc::Sender<u8>);
}

fn main() {}
