//! Tiny guests: core modules of WASI preview 1, written as text.

/// Prints `hello` and exits with `code`.
pub(super) fn exits(code: u8) -> Vec<u8> {
    module(&format!(
        r#"(data (i32.const 64) "hello\n")
        (func (export "_start")
            (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 6))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $exit (i32.const {code})))"#
    ))
}

/// Prints its environment, each variable ended by a zero byte, then waits for an hour.
pub(super) fn prints_environment_and_waits() -> Vec<u8> {
    module(
        r#"(func (export "_start")
            (drop (call $sizes (i32.const 16) (i32.const 20)))
            (drop (call $environ (i32.const 1024) (i32.const 4096)))
            (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.load (i32.const 20)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            ;; One subscription at 128: a monotonic clock, relative, an hour in nanoseconds.
            (i32.store (i32.const 144) (i32.const 1))
            (i64.store (i32.const 152) (i64.const 3600000000000))
            (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8))))
        (data (i32.const 64) "\n")"#,
    )
}

/// Prints a file under one of its directories, which are numbered from 3, then ends.
pub(super) fn prints_a_file(directory: u32, path: &str) -> Vec<u8> {
    let length = path.len();
    module(&format!(
        r#"(data (i32.const 64) "{path}")
        (func (export "_start")
            ;; Links are followed, and the descriptor is allowed to read.
            (if (call $open (i32.const {directory}) (i32.const 1) (i32.const 64) (i32.const {length}) (i32.const 0)
                    (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 16))
                (then (call $exit (i32.const 9))))
            (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100))
            (drop (call $read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 4)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))"#
    ))
}

/// With more than its name as arguments it waits for an hour. Else it copies its input to its output, to the end, and
/// exits with 5.
pub(super) fn copies_its_input() -> Vec<u8> {
    module(
        r#"(func (export "_start")
            (drop (call $args (i32.const 16) (i32.const 20)))
            (if (i32.gt_u (i32.load (i32.const 16)) (i32.const 1)) (then
                (i32.store (i32.const 144) (i32.const 1))
                (i64.store (i32.const 152) (i64.const 3600000000000))
                (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8)))))
            (loop $again
                (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 4096))
                (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 6))))
                (if (i32.eqz (i32.load (i32.const 8))) (then (call $exit (i32.const 5))))
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br $again)))"#,
    )
}

fn module(body: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (memory (export "memory") 1)
        {body})"#
    ))
    .unwrap()
}
