;; An HTTP handler of WASI 0.3 that answers every request with `internal-error`.
(module
  (import "wasi:http/types@0.3.0" "[resource-drop]request" (func $drop (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 96) "\01")
  (data (i32.const 104) "\26")
  (func (export "wasi:http/handler@0.3.0#handle") (param $request i32) (result i32)
    (call $drop (local.get $request))
    (i32.const 96)))
