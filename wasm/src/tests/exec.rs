//! Commands beside a container's own program: what they share with it, how they end, and what cannot be one.

use std::time::Duration;

use super::*;

/// A program of many calls: alone it spins; `p TEXT` prints, `c` copies its input, `x` exits with 7, `s` spins too.
const MANY: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $print (param $at i32) (param $length i32)
      (i32.store (i32.const 8) (local.get $at))
      (i32.store (i32.const 12) (local.get $length))
      (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16))))
    (func (export "_start") (local $verb i32)
      (drop (call $sizes (i32.const 0) (i32.const 4)))
      (drop (call $args (i32.const 100) (i32.const 1000)))
      (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2)) (then (loop $ever (br $ever))))
      (local.set $verb (i32.load8_u (i32.load (i32.const 104))))
      (if (i32.eq (local.get $verb) (i32.const 0x73)) (then (loop $ever (br $ever))))
      (if (i32.eq (local.get $verb) (i32.const 0x78)) (then (call $exit (i32.const 7))))
      (if (i32.eq (local.get $verb) (i32.const 0x74)) (then (unreachable)))
      (if (i32.eq (local.get $verb) (i32.const 0x70))
        (then (call $print (i32.load (i32.const 108)) (i32.const 4))))
      (if (i32.eq (local.get $verb) (i32.const 0x63)) (then
        (i32.store (i32.const 8) (i32.const 2000))
        (i32.store (i32.const 12) (i32.const 64))
        (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 16)))
        (call $print (i32.const 2000) (i32.load (i32.const 16)))))))"#;

fn many() -> Vec<u8> {
    wat::parse_str(MANY).unwrap()
}

/// A command and what it writes.
fn exec(args: &[&str]) -> (Exec, Arc<Captured>) {
    let out = Arc::<Captured>::default();
    let args = args.iter().map(ToString::to_string).collect();
    (Exec { args, env: Vec::new(), stdin: None, tty: Tty::No, stdout: out.clone(), stderr: out.clone() }, out)
}

impl Node {
    /// Runs a command in the container and returns how it ended and what it wrote.
    async fn exec(&self, running: &Running, args: &[&str]) -> (Result<Outcome, ExecError>, String) {
        let (exec, out) = exec(args);
        (self.wasm.exec(&running.sandbox(), exec).await, out.text())
    }
}

#[tokio::test]
async fn a_command_beside_the_program_has_its_own_arguments_and_streams() {
    let node = Node::new();
    let running = node.start(many(), |_| {}).await;
    let (outcome, wrote) = node.exec(&running, &["many", "p", "moin"]).await;
    assert_eq!((outcome.unwrap(), wrote.as_str()), (Outcome::Exited(0), "moin"));
    let (outcome, _) = node.exec(&running, &["many", "x"]).await;
    assert_eq!(outcome.unwrap(), Outcome::Exited(7));

    let (mut with_input, out) = exec(&["many", "c"]);
    with_input.stdin = Some(Box::new(std::io::Cursor::new(b"from outside".to_vec())));
    assert_eq!(node.wasm.exec(&running.sandbox(), with_input).await.unwrap(), Outcome::Exited(0));
    assert_eq!((out.text(), node.stdout.text()), ("from outside".to_owned(), String::new()));
}

#[tokio::test]
async fn a_trap_of_a_command_is_told_to_whoever_ran_it_and_leaves_the_container_alone() {
    let node = Node::new();
    let mut running = node.start(many(), |_| {}).await;
    let (outcome, wrote) = node.exec(&running, &["many", "t"]).await;
    assert!(matches!(outcome.unwrap(), Outcome::Trapped { .. }));
    assert!(wrote.contains("unreachable"), "{wrote}");
    assert_eq!(node.stderr.text(), "");
    running.kill();
    assert_eq!(running.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn a_wasm_file_in_its_directories_is_a_command_too() {
    let node = Node::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("exits.wasm"), wat_that_exits(3)).unwrap();
    std::fs::write(dir.path().join("text.wasm"), "not a program").unwrap();
    let given = Directory::new("/tools", dir.path(), Access::ReadOnly);
    let running = node
        .start(many(), |launch| {
            launch.directories = vec![given];
            launch.working_dir = Some("/tools".into());
        })
        .await;
    for name in ["/tools/exits.wasm", "exits.wasm", "/tools/../tools/./exits.wasm"] {
        assert_eq!(node.exec(&running, &[name]).await.0.unwrap(), Outcome::Exited(3), "{name}");
    }
    let fails = async |name: &str| node.exec(&running, &[name]).await.0.unwrap_err();
    let missing = fails("/tools/none.wasm").await;
    assert_eq!(missing.to_string(), r#"exec: "/tools/none.wasm": no such file or directory"#);
    assert_eq!((missing.exit_code(), fails("/elsewhere/exits.wasm").await.exit_code()), (127, 127));
    let text = fails("text.wasm").await;
    assert_eq!(text.exit_code(), 126);
    assert!(text.to_string().starts_with(r#"exec: "text.wasm": exec format error: "#), "{text}");
}

fn wat_that_exits(code: i32) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
    ))
    .unwrap()
}

#[tokio::test]
async fn a_program_that_only_serves_has_no_command() {
    let node = Node::new();
    let running = node.start(component(include_str!("guests/server.wat"), "server"), |_| {}).await;
    let error = node.exec(&running, &["ls"]).await.0.unwrap_err();
    assert_eq!(error.to_string(), r#"exec: "ls": the program answers HTTP requests and has no command to run"#);
    assert_eq!(error.exit_code(), 126);
}

#[tokio::test]
async fn a_command_ends_with_its_container() {
    let node = Node::new();
    let mut running = node.start(many(), |_| {}).await;
    let alone = memory_alone(&running).await;
    let sandbox = running.sandbox();
    let (spinning, _) = exec(&["many", "s"]);
    let (outcome, ()) = tokio::join!(node.wasm.exec(&sandbox, spinning), async {
        until(|| running.usage().memory_bytes == 2 * alone).await;
        running.kill();
    });
    assert_eq!(outcome.unwrap(), Outcome::Stopped);
    running.outcome().await;
    let (late, _) = exec(&["many", "x"]);
    assert!(matches!(node.wasm.exec(&sandbox, late).await, Err(ExecError::Ended)));
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_ends() {
    let node = Node::new();
    let running = node.start(many(), |_| {}).await;
    let alone = memory_alone(&running).await;
    let (spinning, _) = exec(&["many", "s"]);
    let sandbox = running.sandbox();
    let waited = tokio::time::timeout(Duration::from_millis(100), node.wasm.exec(&sandbox, spinning)).await;
    assert!(waited.is_err());
    until(|| running.usage().memory_bytes == alone).await;
}

/// What the container's own program has once it spins.
async fn memory_alone(running: &Running) -> u64 {
    until(|| running.usage().cpu > Duration::from_millis(20)).await;
    running.usage().memory_bytes
}

/// Room for one piece at a time, until it is emptied.
#[derive(Default)]
struct Small(Mutex<(Vec<u8>, Option<std::task::Waker>)>);

impl Sink for Small {
    fn write(&self, bytes: &[u8]) {
        self.0.lock().unwrap().0.extend_from_slice(bytes);
    }

    fn poll_room(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0.is_empty() {
            return std::task::Poll::Ready(());
        }
        state.1 = Some(context.waker().clone());
        std::task::Poll::Pending
    }
}

impl Small {
    fn take(&self) -> Vec<u8> {
        let mut state = self.0.lock().unwrap();
        let taken = std::mem::take(&mut state.0);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
        taken
    }
}

#[tokio::test]
async fn a_command_waits_for_room_in_its_output_and_loses_nothing() {
    let node = Node::new();
    // Prints a page of zeros a hundred times.
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (memory (export "memory") 2)
        (func (export "_start") (local $left i32)
          (drop (call $sizes (i32.const 0) (i32.const 4)))
          (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2)) (then (loop $ever (br $ever))))
          (local.set $left (i32.const 100))
          (loop $again
            (i32.store (i32.const 8) (i32.const 4096)) (i32.store (i32.const 12) (i32.const 4096))
            (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $again (local.get $left)))))"#;
    let running = node.start(wat::parse_str(guest).unwrap(), |_| {}).await;
    let (mut wanted, _) = exec(&["guest", "print"]);
    let small = Arc::<Small>::default();
    wanted.stdout = small.clone();
    let sandbox = running.sandbox();
    let mut command = std::pin::pin!(node.wasm.exec(&sandbox, wanted));
    let (mut taken, mut most) = (0, 0);
    let outcome = loop {
        tokio::select! {
            outcome = &mut command => break outcome.unwrap(),
            () = tokio::task::yield_now() => {
                let piece = small.take().len();
                (taken, most) = (taken + piece, most.max(piece));
            }
        }
    };
    assert_eq!((outcome, taken + small.take().len()), (Outcome::Exited(0), 100 * 4096));
    assert_eq!(most, 4096, "a piece comes only when the one before has been taken");
}

#[tokio::test]
async fn a_guest_is_told_whether_it_has_a_terminal() {
    let node = Node::new();
    // Exits with the file types of its three streams as bits: 2 is a character device.
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func $is (param $fd i32) (result i32)
          (drop (call $stat (local.get $fd) (i32.const 104)))
          (i32.eq (i32.load8_u (i32.const 104)) (i32.const 2)))
        (func (export "_start")
          (drop (call $sizes (i32.const 0) (i32.const 4)))
          (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2)) (then (loop $ever (br $ever))))
          (call $exit (i32.add (call $is (i32.const 0))
            (i32.add (i32.mul (i32.const 2) (call $is (i32.const 1))) (i32.mul (i32.const 4) (call $is (i32.const 2))))))))"#;
    let running = node.start(wat::parse_str(guest).unwrap(), |_| {}).await;
    for (tty, code) in [(Tty::No, 0), (Tty::Yes, 7)] {
        let (mut wanted, _) = exec(&["guest", "tell"]);
        wanted.stdin = Some(Box::new(std::io::Cursor::new(Vec::new())));
        wanted.tty = tty;
        assert_eq!(node.wasm.exec(&running.sandbox(), wanted).await.unwrap(), Outcome::Exited(code), "{tty:?}");
    }
}
