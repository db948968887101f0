//! A plug-in that uses coprocess, for a host in C that does not.

/// Runs the plug-in. The host calls this function.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a name that the host looks up")]
pub extern "C" fn plugin_run() {
    coprocess::init();
    let outcome = coprocess::fork(|co| {
        co.serve("add", |(a, b): (i64, i64)| a + b);
    });
    match outcome {
        Ok(co) => println!("plug-in: {:?}", co.call::<i64>("add", (1_i64, 2_i64))),
        Err(error) => println!("plug-in: {error}"),
    }
}
