//! A program's `main` never runs in a process that was started to be a worker. A process that was
//! not started to be one is never touched.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Scratch, count, is_root, run, skipped};

const FORKS: &str = env!("CARGO_BIN_EXE_forks");
const STARTS_ITSELF: &str = env!("CARGO_BIN_EXE_starts_itself");
const STRAYS: &str = env!("CARGO_BIN_EXE_strays");
const BEFORE_INIT: &str = env!("CARGO_BIN_EXE_before_init");
const SPAWNS: &str = env!("CARGO_BIN_EXE_spawns");
const WORKER_PROGRAM: &str = env!("CARGO_BIN_EXE_worker_program");
const INSISTS: &str = env!("CARGO_BIN_EXE_insists");
const WRAPS: &str = env!("CARGO_BIN_EXE_wraps");
const CONTAINER: &str = env!("CARGO_BIN_EXE_container");
const BECOMES_ROOT: &str = env!("CARGO_BIN_EXE_becomes_root");
/// An ordinary user, which owns nothing.
const NOBODY: u32 = 65_534;

/// Checks that `main` has run once, and what came of it.
#[track_caller]
fn runs_once(command: &mut Command, outcome: &str) {
    let said = run(command);
    assert_eq!(count(&said.out, "main runs"), 1, "{said}");
    assert!(said.out.contains(outcome), "{said} does not say {outcome:?}");
}

#[test]
fn as_it_should_be() {
    runs_once(&mut Command::new(FORKS), "Ok(1)");
}

// ---- secure execution ---------------------------------------------------------------------------

/// Gives a file a capability, as `setcap cap_net_bind_service+ep` does.
fn give_capability(path: &Path) -> std::io::Result<()> {
    // Version 2, effective; then what is permitted and what is inheritable, in two halves.
    let data: [u32; 5] = [0x0200_0001, 1 << 10, 0, 0, 0];
    let bytes: Vec<u8> = data.iter().flat_map(|word| word.to_le_bytes()).collect();
    common::set_attribute(path, c"security.capability", &bytes)
}

/// Copies a program with rights of its own, so that every user may execute the copy. Returns `None`
/// if such rights cannot be had here.
fn privileged(scratch: &Scratch, program: &str, how: &str) -> Option<PathBuf> {
    if !is_root() {
        skipped(&format!("{how}: only root can give a program rights"));
        return None;
    }
    let copy = scratch.copy(program);
    let given = match how {
        "capability" => give_capability(&copy),
        _ => fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)),
    };
    if let Err(error) = given {
        skipped(&format!("{how}: {error}"));
        return None;
    }
    Some(copy)
}

#[test]
fn a_program_with_capabilities() {
    let scratch = Scratch::new("capability");
    let Some(program) = privileged(&scratch, FORKS, "capability") else { return };
    let mut command = Command::new(&program);
    command.uid(NOBODY).gid(NOBODY);
    runs_once(&mut command, "file capabilities");
    // Root gains nothing by it.
    runs_once(&mut Command::new(&program), "Ok(1)");
}

#[test]
fn a_program_of_another_user() {
    let scratch = Scratch::new("setuid");
    let Some(program) = privileged(&scratch, FORKS, "setuid") else { return };
    let mut command = Command::new(&program);
    command.uid(NOBODY).gid(NOBODY);
    runs_once(&mut command, "set-user-ID");
    // It gives up what it has: its worker would gain it again.
    command.args(["setuid", &NOBODY.to_string()]);
    runs_once(&mut command, "set-user-ID");
    // It takes all of it: there is nothing that its worker could gain.
    runs_once(Command::new(&program).uid(NOBODY).gid(NOBODY).args(["setuid", "0"]), "Ok(1)");
}

/// The parent was executed in the ordinary way; its worker would not be.
#[test]
fn root_as_another_user() {
    if !is_root() {
        return skipped("only root can be another user");
    }
    runs_once(Command::new(FORKS).args(["seteuid", &NOBODY.to_string()]), "effective user");
    // All of it: the worker is an ordinary process of that user.
    let scratch = Scratch::new("setuid-all");
    runs_once(Command::new(scratch.copy(FORKS)).args(["setuid", &NOBODY.to_string()]), "Ok(1)");
}

/// The worker finds out, where its parent could not know: it says so before it ends.
#[test]
fn a_worker_program_with_capabilities() {
    let scratch = Scratch::new("worker-capability");
    let Some(program) = privileged(&scratch, WORKER_PROGRAM, "capability") else { return };
    let parent = scratch.copy(SPAWNS);
    let said = run(Command::new(parent).arg(&program).uid(NOBODY).gid(NOBODY));
    // The parent says it; so does the worker, unless it is killed before.
    let of_parent = said.out.lines().find(|line| {
        line.starts_with("cannot start the worker") && line.contains("file capabilities")
    });
    assert!(of_parent.is_some() && !said.out.contains("Ok("), "{said}");
    let said = run(Command::new(SPAWNS).arg(WORKER_PROGRAM));
    assert_eq!(said.out, "Ok(1)\n", "{said}");
}

/// Its `parent()` fails for good, and does not leave it free to start itself.
#[test]
fn a_program_with_capabilities_that_starts_itself() {
    let scratch = Scratch::new("insists");
    let Some(program) = privileged(&scratch, INSISTS, "capability") else { return };
    let said = run(Command::new(&program).uid(NOBODY).gid(NOBODY));
    assert_eq!(count(&said.out, "main runs"), 2, "{said}");
    assert_eq!(count(&said.out, "file capabilities"), 3, "{said}");
    assert_eq!(count(&said.out, "again: "), 2, "{said}");
    assert!(
        said.out.contains("has not called coprocess::parent() yet, or that has failed"),
        "{said}"
    );
    let said = run(Command::new(scratch.copy(INSISTS)).uid(NOBODY).gid(NOBODY));
    assert_eq!(count(&said.out, "main runs"), 2, "{said}");
    assert!(said.out.contains("Ok(1)"), "{said}");
}

/// A set-user-ID program is root in every respect when it executes a worker program: the kernel
/// does not warn that program. The program must not obey what an ordinary user says through the
/// socket.
#[test]
fn a_worker_that_is_another_user_than_its_parent() {
    let scratch = Scratch::new("becomes-root");
    let Some(wrapper) = privileged(&scratch, BECOMES_ROOT, "setuid") else { return };
    let (parent, worker) = (scratch.copy(SPAWNS), scratch.copy(INSISTS));
    let said = run(Command::new(&parent).args([&wrapper, &worker]).uid(NOBODY).gid(NOBODY));
    assert_eq!(count(&said.out, "main runs"), 1, "{said}");
    assert!(said.out.contains("belongs to another user") && !said.out.contains("Ok("), "{said}");
    // What root says is.
    let said = run(Command::new(&parent).args([&wrapper, &worker]));
    assert!(said.out.contains("Ok(1)"), "{said}");
}

/// Root of the host has no number in a container's user namespace, and is root nevertheless.
#[test]
fn a_worker_whose_parent_has_no_number_in_its_namespace() {
    let contained = |program: &str| Command::new(CONTAINER).arg(program).output();
    if !contained("true").is_ok_and(|output| output.status.success()) {
        return skipped("only root can make such namespaces, and not everywhere");
    }
    let scratch = Scratch::new("container");
    let worker = scratch.copy(WORKER_PROGRAM);
    let said = run(Command::new(SPAWNS).arg(CONTAINER).arg(worker));
    assert_eq!(said.out, "Ok(1)\n", "{said}");
}

// ---- strays -------------------------------------------------------------------------------------

#[track_caller]
fn a_stray_runs(how: &str) {
    a_stray_runs_in(&mut Command::new(STRAYS), how);
}

#[track_caller]
fn a_stray_runs_in(command: &mut Command, how: &str) {
    let scratch = Scratch::new(how);
    let file = scratch.path("ran");
    let said = run(command.arg(how).arg(&file));
    assert!(said.out.ends_with("Ok(1) false\n"), "{said}");
}

#[test]
fn a_program_that_a_worker_starts() {
    a_stray_runs("child");
}

#[test]
fn a_program_that_is_adopted_by_the_parent() {
    a_stray_runs("adopted");
}

#[test]
fn a_program_that_takes_the_place_of_a_worker() {
    a_stray_runs("in its place");
}

/// A parent that is process 1, as in a container, with a worker that is process 1 of a namespace of
/// its own. What the worker leaves behind has a parent of that number, too.
#[test]
fn a_program_in_the_namespace_of_a_worker() {
    let unshare = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", program]);
        command
    };
    if !unshare("true").output().is_ok_and(|output| output.status.success()) {
        return skipped("namespaces cannot be made here");
    }
    a_stray_runs_in(&mut unshare(STRAYS), "namespace");
}

/// By a worker that has not called `init` yet: then it has the variable, and the socket.
#[test]
fn a_program_that_is_started_before_init() {
    // Another one,
    let said = run(Command::new(BEFORE_INIT).arg("helps itself").env("HELPER", FORKS));
    assert!(said.err.contains("helper: exit status: 0 main runs; Ok(1);"), "{said}");
    assert!(said.out.ends_with("main runs\nOk(1)\n"), "{said}");
    // and the same.
    let said = run(Command::new(BEFORE_INIT).arg("helps itself").env("HELPER", BEFORE_INIT));
    assert!(said.err.contains("helper: exit status: 0 main runs; Ok(1);"), "{said}");
    assert!(said.out.ends_with("main runs\nOk(1)\n"), "{said}");
}

/// By another user, which cannot see what the worker was started with.
#[test]
fn a_program_that_another_user_starts_before_init() {
    if !is_root() {
        return skipped("only root can start a program of another user");
    }
    let scratch = Scratch::new("another-user");
    let program = scratch.copy(BEFORE_INIT);
    let said = run(Command::new(&program)
        .arg("helps itself")
        .env("HELPER", &program)
        .env("HELPER_USER", NOBODY.to_string()));
    assert!(said.err.contains("helper: exit status: 0 main runs; Ok(1);"), "{said}");
    assert!(said.out.ends_with("main runs\nOk(1)\n"), "{said}");
}

/// Its numbers, and those of its parent, are others there.
#[test]
fn a_program_that_is_started_before_init_in_a_namespace() {
    if !Command::new("unshare")
        .args(["--pid", "--fork", "true"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return skipped("namespaces cannot be made here");
    }
    let helper = format!("unshare --pid --fork {BEFORE_INIT}");
    let said = run(Command::new(BEFORE_INIT).arg("helps itself").env("HELPER", helper));
    assert!(said.err.contains("helper: exit status: 0 main runs; Ok(1);"), "{said}");
    assert!(said.out.ends_with("main runs\nOk(1)\n"), "{said}");
}

/// The process has the mark, and its parent is not the process that made the socket. But it is no
/// helper.
#[test]
fn a_worker_whose_parent_dies_before_init() {
    let scratch = Scratch::new("orphaned");
    let said =
        run(Command::new(BEFORE_INIT).arg("is orphaned").env("STARTED", scratch.path("started")));
    assert_eq!(count(&said.out, "main runs"), 1, "{said}");
    assert!(said.err.contains("coprocess: the worker ends: the parent is gone"), "{said}");
}

/// An executable may have two copies of this library: each takes its own marks only.
#[test]
fn the_mark_of_another_copy_of_the_library() {
    let file = fs::metadata(FORKS).unwrap();
    // No library begins where the executable does.
    let mark = format!("function:3:0:1:0:{}:{}", file.dev(), file.ino());
    runs_once(Command::new(FORKS).env("COPROCESS_LIFELINE", mark), "Ok(1)");
}

/// As in gVisor: the system names this process itself as the maker of its socket.
#[test]
#[cfg(target_env = "gnu")]
fn where_the_system_does_not_tell_who_made_a_socket() {
    let scratch = Scratch::new("credentials");
    let Some(preload) = compile(&scratch, "credentials.so", CREDENTIALS, &["-shared", "-fPIC"])
    else {
        return;
    };
    runs_once(Command::new(FORKS).env("LD_PRELOAD", &preload), "Ok(1)");
    // Helpers are told by the mark of their parents there.
    let said = run(Command::new(BEFORE_INIT)
        .arg("helps itself")
        .env("HELPER", BEFORE_INIT)
        .env("LD_PRELOAD", &preload));
    assert!(said.err.contains("helper: exit status: 0 main runs; Ok(1);"), "{said}");
    assert!(said.out.ends_with("main runs\nOk(1)\n"), "{said}");
}

#[cfg(target_env = "gnu")]
const CREDENTIALS: &str = r#"
#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    int result = syscall(SYS_getsockopt, fd, level, name, value, length);
    if (result == 0 && level == SOL_SOCKET && name == SO_PEERCRED) {
        ((struct ucred *) value)->pid = getpid();
    }
    return result;
}
"#;

// ---- foreign executables ------------------------------------------------------------------------

/// Compiles C.
#[cfg(target_env = "gnu")]
fn compile(scratch: &Scratch, name: &str, source: &str, options: &[&str]) -> Option<PathBuf> {
    let (file, program) = (scratch.path("source.c"), scratch.path(name));
    fs::write(&file, source).unwrap();
    let compiled = Command::new("cc").arg("-o").arg(&program).arg(&file).args(options).status();
    if compiled.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    skipped("there is no C compiler");
    None
}

/// A plug-in of a host in C, whose `main` must not run twice, and whose input must not be read. The
/// programs that Rust makes for musl are static: they have no plug-ins.
#[test]
#[cfg(target_env = "gnu")]
fn a_plug_in() {
    let scratch = Scratch::new("plug-in");
    let Some(host) = compile(&scratch, "host", HOST, &["-ldl"]) else { return };
    let plugin = common::library("plugin");
    let input = scratch.path("input");
    fs::write(&input, "the host's own input\n").unwrap();
    let said = run(Command::new(&host).arg(&plugin).stdin(fs::File::open(&input).unwrap()));
    assert_eq!(count(&said.out, "main runs"), 1, "{said}");
    assert!(
        said.out.contains("plug-in: ") && said.out.contains("not in the program's own executable"),
        "{said}"
    );
    assert!(said.out.ends_with("the host's own input\n"), "{said}");
}

#[cfg(target_env = "gnu")]
const HOST: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **arguments) {
    printf("main runs\n");
    fflush(stdout);
    if (count < 2) {
        return 1;
    }
    void *plugin = dlopen(arguments[1], RTLD_NOW);
    if (!plugin) {
        printf("%s\n", dlerror());
        return 1;
    }
    ((void (*)(void)) dlsym(plugin, "plugin_run"))();
    char line[100];
    printf("%s", fgets(line, sizeof line, stdin) ? line : "nothing\n");
    return 0;
}
"#;

#[test]
#[cfg(target_env = "gnu")]
fn a_program_that_the_dynamic_linker_starts() {
    let linker = fs::read_to_string("/proc/self/maps").unwrap();
    let linker = linker
        .lines()
        .find_map(|line| line.find("/ld-linux").map(|_| &line[line.find('/').unwrap()..]))
        .expect("a dynamic linker");
    runs_once(Command::new(linker).arg(FORKS), "was started through");
}

// ---- what forgets -------------------------------------------------------------------------------

/// The first process, and the one that it starts: that one does not start any more.
#[test]
fn a_program_that_starts_itself() {
    for arguments in [&[][..], &["late"]] {
        let said = run(Command::new(STARTS_ITSELF).args(arguments));
        assert_eq!(count(&said.out, "main runs"), 2, "{said}");
        assert!(said.out.contains("has not called coprocess::parent() yet"), "{said}");
        assert!(said.out.contains("before it attached"), "{said}");
    }
}

/// The socket is lost on the way, so that no process can know what it was started to be.
#[test]
fn a_program_that_starts_itself_through_a_wrapper_that_closes_descriptors() {
    let said = run(Command::new(INSISTS).env("WRAPPER", WRAPS));
    assert_eq!(count(&said.out, "main runs"), 4, "{said}");
    assert!(
        said.out.contains("has not called coprocess::parent() yet, or that has failed"),
        "{said}"
    );
}

#[test]
fn a_worker_that_closes_the_socket_before_init() {
    let said = run(Command::new(BEFORE_INIT).arg("closes"));
    assert_eq!(count(&said.out, "main runs"), 1, "{said}");
    assert!(
        said.err
            .contains("coprocess: the worker ends: the parent's socket was closed before init()"),
        "{said}"
    );
    assert!(said.out.contains("exited with code 1 before it attached"), "{said}");
}

/// It cannot say why it ends; but it ends.
#[test]
fn a_worker_that_cannot_write_its_last_line() {
    let said = run(Command::new("sh").args(["-c", "exec \"$0\" closes 2>/dev/full", BEFORE_INIT]));
    assert_eq!(count(&said.out, "main runs"), 1, "{said}");
    assert!(said.out.contains("exited with code 1 before it attached"), "{said}");
}

/// Its `main` has gone on, as it did not call `init`; but it starts nothing.
#[test]
fn a_worker_that_forgets_init() {
    let said = run(Command::new(BEFORE_INIT).arg("forgets"));
    assert_eq!(count(&said.out, "main runs"), 2, "{said}");
    assert!(
        said.err.contains("coprocess::init() has not run: it must be the first line of main()"),
        "{said}"
    );
    assert!(said.out.contains("exited with code 1 before it attached"), "{said}");
}
