;; A guest to talk to. Without arguments it copies its input to its output, line by line as they come, and exits with 5
;; at the end of its input. With a first argument it does what its first letter says:
;;   w  waits for an hour
;;   x  says "out" and "err" and exits with 7
;;   t  exits with a bit for each stream that is a terminal: 1, 2 and 4
;;   e  prints its environment
;;   f  prints for ever
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 64) "out\n")
  (data (i32.const 68) "err\n")
  (func $print (param $fd i32) (param $at i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $is_terminal (param $fd i32) (result i32)
    (drop (call $stat (local.get $fd) (i32.const 104)))
    (i32.eq (i32.load8_u (i32.const 104)) (i32.const 2)))
  (func $copy
    (loop $again
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 32768))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 6))))
      (if (i32.eqz (i32.load (i32.const 8))) (then (call $exit (i32.const 5))))
      (call $print (i32.const 1) (i32.const 65536) (i32.load (i32.const 8)))
      (br $again)))
  (func (export "_start") (local $verb i32)
    (drop (call $args_sizes (i32.const 16) (i32.const 20)))
    (if (i32.lt_u (i32.load (i32.const 16)) (i32.const 2)) (then (call $copy)))
    (drop (call $args (i32.const 1024) (i32.const 2048)))
    (local.set $verb (i32.load8_u (i32.load (i32.const 1028))))
    (if (i32.eq (local.get $verb) (i32.const 0x77)) (then
      ;; One subscription at 128: a clock, relative, an hour in nanoseconds.
      (i32.store (i32.const 144) (i32.const 1))
      (i64.store (i32.const 152) (i64.const 3600000000000))
      (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8)))))
    (if (i32.eq (local.get $verb) (i32.const 0x78)) (then
      (call $print (i32.const 1) (i32.const 64) (i32.const 4))
      (call $print (i32.const 2) (i32.const 68) (i32.const 4))
      (call $exit (i32.const 7))))
    (if (i32.eq (local.get $verb) (i32.const 0x74)) (then
      (call $exit (i32.add (call $is_terminal (i32.const 0))
        (i32.add (i32.mul (i32.const 2) (call $is_terminal (i32.const 1)))
          (i32.mul (i32.const 4) (call $is_terminal (i32.const 2))))))))
    (if (i32.eq (local.get $verb) (i32.const 0x65)) (then
      (drop (call $environ_sizes (i32.const 16) (i32.const 20)))
      (drop (call $environ (i32.const 4096) (i32.const 16384)))
      (call $print (i32.const 1) (i32.const 16384) (i32.load (i32.const 20)))))
    (if (i32.eq (local.get $verb) (i32.const 0x66)) (then
      (loop $ever (call $print (i32.const 1) (i32.const 64) (i32.const 4)) (br $ever))))))
