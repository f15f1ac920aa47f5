;; A program of many calls, for probes and hooks: the first argument is its own name, the second says what to do.
;;   (nothing)    waits for ever
;;   true         ends with 0
;;   fail TEXT    prints the text and ends with 1
;;   has FILE     ends with 0 if there is such a file in `/`, else with 1
;;   make FILE    makes it
;;   remove FILE  removes it
;;   spin         spins for ever
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $length (param $text i32) (result i32) (local $end i32)
    (local.set $end (local.get $text))
    (block $done (loop $more
      (br_if $done (i32.eqz (i32.load8_u (local.get $end))))
      (local.set $end (i32.add (local.get $end) (i32.const 1)))
      (br $more)))
    (i32.sub (local.get $end) (local.get $text)))
  ;; The error's number of opening the file named by the third argument, with these flags.
  (func $opened (param $flags i32) (result i32)
    (call $open (i32.const 3) (i32.const 0) (i32.load (i32.const 108)) (call $length (i32.load (i32.const 108)))
      (local.get $flags) (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 16)))
  (func (export "_start") (local $verb i32)
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 100) (i32.const 1000)))
    (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2)) (then
      ;; One subscription: the monotonic clock, in an hour.
      (i32.store (i32.const 3016) (i32.const 1))
      (i64.store (i32.const 3024) (i64.const 3600000000000))
      (loop $ever
        (drop (call $poll (i32.const 3000) (i32.const 3100) (i32.const 1) (i32.const 16)))
        (br $ever))))
    (local.set $verb (i32.load8_u (i32.load (i32.const 104))))
    (if (i32.eq (local.get $verb) (i32.const 0x74)) (then (call $exit (i32.const 0))))
    (if (i32.eq (local.get $verb) (i32.const 0x73)) (then (loop $ever (br $ever))))
    (if (i32.eq (local.get $verb) (i32.const 0x66)) (then
      (i32.store (i32.const 8) (i32.load (i32.const 108)))
      (i32.store (i32.const 12) (call $length (i32.load (i32.const 108))))
      (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
      (call $exit (i32.const 1))))
    (if (i32.eq (local.get $verb) (i32.const 0x68)) (then
      (call $exit (i32.ne (call $opened (i32.const 0)) (i32.const 0)))))
    (if (i32.eq (local.get $verb) (i32.const 0x6d)) (then
      (call $exit (i32.ne (call $opened (i32.const 1)) (i32.const 0)))))
    (if (i32.eq (local.get $verb) (i32.const 0x72)) (then
      (call $exit (call $unlink (i32.const 3) (i32.load (i32.const 108)) (call $length (i32.load (i32.const 108)))))))
    (call $exit (i32.const 2))))
