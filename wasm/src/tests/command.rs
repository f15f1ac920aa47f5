//! Commands: how they end, what they are kept from, what they are given.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::*;

const SLEEP: &str = include_str!("guests/sleep.wat");

/// A module of WASI preview 1.
fn preview1(start: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
              (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 100) "hello\n")
            (data (i32.const 200) "file")
            (func $print (param $fd i32) (param $at i32) (param $length i32)
              (i32.store (i32.const 8) (local.get $at))
              (i32.store (i32.const 12) (local.get $length))
              (drop (call $write (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 16))))
            (func (export "_start") {start}))"#
    ))
    .unwrap()
}

#[tokio::test]
async fn a_command_ends_with_its_exit_code() {
    let node = Node::new();
    assert_eq!(node.run(command("i32.const 0"), |_| {}).await, Outcome::Exited(0));
    assert_eq!(node.run(command("i32.const 1"), |_| {}).await, Outcome::Exited(1));
    assert_eq!(node.run(preview1("(call $exit (i32.const 42))"), |_| {}).await, Outcome::Exited(42));
    // What shells call "ended by SIGTERM", and what `exit(-1)` is everywhere.
    assert_eq!(node.run(preview1("(call $exit (i32.const 143))"), |_| {}).await, Outcome::Exited(143));
    assert_eq!(node.run(preview1("(call $exit (i32.const -1))"), |_| {}).await, Outcome::Exited(255));
    assert_eq!(node.stderr.text(), "");
}

#[tokio::test]
async fn a_command_of_wasi_0_3_runs_too() {
    let node = Node::new();
    let run = |result: &str| {
        wat::parse_str(format!(
            r#"(component
                (core module $m (func (export "run") (result i32) {result}))
                (core instance $i (instantiate $m))
                (type $run (func async (result (result))))
                (func $f (type $run) (canon lift (core func $i "run")))
                (instance $r (export "run" (func $f)))
                (export "wasi:cli/run@0.3.0" (instance $r)))"#
        ))
        .unwrap()
    };
    assert_eq!(node.run(run("i32.const 0"), |_| {}).await, Outcome::Exited(0));
    assert_eq!(node.run(run("i32.const 1"), |_| {}).await, Outcome::Exited(1));
    assert!(matches!(node.run(run("unreachable"), |_| {}).await, Outcome::Trapped { .. }));
    let mut spinner = node.start(run("(loop $ever (br $ever)) i32.const 0"), |_| {}).await;
    until(|| spinner.usage().cpu > Duration::from_millis(20)).await;
    spinner.kill();
    assert_eq!(spinner.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn a_module_of_preview_1_prints_what_it_is_given() {
    let node = Node::new();
    let print = "(call $print (i32.const 1) (i32.const 100) (i32.const 6))
                 (drop (call $args (i32.const 300) (i32.const 400)))
                 (call $print (i32.const 2) (i32.const 400) (i32.const 3))";
    let outcome = node.run(preview1(print), |launch| launch.args = vec!["one".into(), "two".into()]).await;
    assert_eq!(outcome, Outcome::Exited(0));
    assert_eq!((node.stdout.text(), node.stderr.text()), ("hello\n".into(), "one".into()));
}

#[tokio::test]
async fn a_module_of_preview_1_has_all_of_its_memory_to_itself() {
    let node = Node::new();
    // What an allocator does that looks for the end of memory when it is first used.
    let fill = "(drop (call $args (i32.const 300) (i32.const 400)))
                (memory.fill (i32.const 1024) (i32.const 90)
                  (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1024)))
                (call $print (i32.const 1) (i32.const 100) (i32.const 6))";
    assert_eq!(node.run(preview1(fill), |_| {}).await, Outcome::Exited(0));
    assert_eq!(node.stdout.text(), "hello\n");
}

#[tokio::test]
async fn a_trap_is_told_with_its_backtrace() {
    let node = Node::new();
    let Outcome::Trapped { message } = node.run(command("unreachable"), |_| {}).await else { panic!("no trap") };
    assert!(message.contains("unreachable") && message.contains("run"), "{message}");
    assert!(node.stderr.text().contains("unreachable"), "{}", node.stderr.text());
}

#[tokio::test]
async fn a_memory_beyond_its_limit_ends_the_container() {
    let node = Node::new();
    let grow = command("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) i32.const 0");
    let outcome = node.run(grow, |launch| launch.memory_limit = Some(8 << 20)).await;
    assert_eq!((outcome.exit_code(), outcome), (137, Outcome::OutOfMemory));
}

#[tokio::test]
async fn a_program_too_large_for_its_limit_is_out_of_memory_from_the_start() {
    let node = Node::new();
    let outcome = node.run(command("i32.const 0"), |launch| launch.memory_limit = Some(1000)).await;
    assert_eq!(outcome, Outcome::OutOfMemory);
}

#[tokio::test]
async fn a_recursion_without_end_traps_and_harms_nobody() {
    let node = Node::new();
    let outcome = node.run(command("(call $run)"), |_| {}).await;
    assert!(matches!(&outcome, Outcome::Trapped { message } if message.contains("stack")), "{outcome:?}");
    assert_eq!(node.run(command("i32.const 0"), |_| {}).await, Outcome::Exited(0));
}

#[tokio::test]
async fn spinning_guests_leave_room_for_others_and_are_killed() {
    let node = Node::with(|config| config.workers = 1);
    let mut spinners = [node.start(command(SPIN), |_| {}).await, node.start(command(SPIN), |_| {}).await];
    until(|| spinners.iter().all(|spinner| spinner.usage().cpu > Duration::from_millis(5))).await;
    assert_eq!(node.run(command("i32.const 0"), |_| {}).await, Outcome::Exited(0));
    for spinner in &mut spinners {
        spinner.kill();
        assert_eq!(spinner.outcome().await, Outcome::Stopped);
    }
}

#[tokio::test]
async fn a_stop_interrupts_a_command_with_nothing_in_flight() {
    let node = Node::new();
    let mut sleeper = node.start(component(SLEEP, "command"), |_| {}).await;
    sleeper.stop();
    assert_eq!(sleeper.outcome().await, Outcome::Stopped);
    assert_eq!(sleeper.outcome().await.exit_code(), 143);
}

#[tokio::test]
async fn the_ticker_sleeps_while_guests_wait() {
    let node = Node::new();
    let sleeper = node.start(component(SLEEP, "command"), |_| {}).await;
    until(|| sleeper.usage().memory_bytes > 0).await;
    until(|| node.wasm.host.ticker().is_asleep()).await;
    let spinner = node.start(command(SPIN), |_| {}).await;
    until(|| !node.wasm.host.ticker().is_asleep()).await;
    drop(spinner);
    until(|| node.wasm.host.ticker().is_asleep()).await;
}

#[tokio::test]
async fn a_cpu_limit_holds_a_guest_back() {
    let node = Node::new();
    let free = node.start(command(SPIN), |_| {}).await;
    let held = node.start(command(SPIN), |launch| launch.cpu_limit = Some(10)).await;
    until(|| free.usage().cpu > Duration::from_millis(500)).await;
    assert!(held.usage().cpu * 2 < free.usage().cpu, "{:?} against {:?}", held.usage(), free.usage());
}

#[tokio::test]
async fn requests_are_weights_where_there_is_one_core() {
    let node = Node::with(|config| config.workers = 1);
    let heavy = node.start(command(SPIN), |launch| launch.cpu_request = Some(1000)).await;
    let light = node.start(command(SPIN), |launch| launch.cpu_request = Some(250)).await;
    until(|| !heavy.usage().cpu.is_zero() && !light.usage().cpu.is_zero()).await;
    let (heavy_before, light_before) = (heavy.usage().cpu, light.usage().cpu);
    until(|| heavy.usage().cpu + light.usage().cpu > heavy_before + light_before + Duration::from_millis(300)).await;
    let (heavy, light) = (heavy.usage().cpu - heavy_before, light.usage().cpu - light_before);
    assert!(heavy > light * 2, "{heavy:?} against {light:?}");
}

#[tokio::test]
async fn what_a_container_used_is_given_back_at_its_end() {
    let node = Node::new();
    let mut running = node.start(command(SPIN), |_| {}).await;
    until(|| running.usage().memory_bytes == 64 * 1024).await;
    running.kill();
    running.outcome().await;
    assert_eq!(running.usage().memory_bytes, 0);
}

#[tokio::test]
async fn a_directory_is_as_writable_as_it_was_given() {
    let node = Node::new();
    let dir = tempfile::tempdir().unwrap();
    // Creates "file" in the first directory it finds open, and exits with the error's number.
    let create = "(call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 200) (i32.const 4)
                    (i32.const 1) (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 16)))";
    let given = |access| Directory::new("/data", dir.path(), access);
    let outcome = node.run(preview1(create), |launch| launch.directories = vec![given(Access::ReadOnly)]).await;
    assert!(!matches!(outcome, Outcome::Exited(0)), "{outcome:?}");
    assert!(!dir.path().join("file").exists());
    let outcome = node.run(preview1(create), |launch| launch.directories = vec![given(Access::ReadWrite)]).await;
    assert_eq!(outcome, Outcome::Exited(0));
    assert!(dir.path().join("file").exists());
}

#[tokio::test]
async fn a_missing_directory_is_told_at_the_start() {
    let node = Node::new();
    let nowhere = || vec![Directory::new("/data", "/nowhere/at/all", Access::ReadOnly)];
    let program = node.load(preview1("")).await.unwrap();
    let launch = Launch { directories: nowhere(), ..node.launch() };
    let error = node.wasm.start(program, launch).await.err().unwrap();
    assert!(error.to_string().starts_with("cannot open the directory for /data"), "{error}");
    // Nothing is opened for who cannot see it.
    let outcome = node.run(command("i32.const 0"), |launch| launch.directories = nowhere()).await;
    assert_eq!(outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn after_a_shutdown_nothing_runs_and_nothing_starts() {
    let node = Node::new();
    let mut spinner = node.start(command(SPIN), |_| {}).await;
    node.wasm.shutdown();
    assert_eq!(spinner.outcome().await, Outcome::Stopped);
    let program = node.load(command("i32.const 0")).await.unwrap();
    assert!(matches!(node.wasm.start(program, node.launch()).await, Err(StartError::ShuttingDown)));
}

/// A sink that is a fault of ours.
struct Faulty;

impl Sink for Faulty {
    fn write(&self, _: &[u8]) {
        panic!("a fault of the host's");
    }
}

#[tokio::test]
async fn a_panic_of_the_host_ends_its_container_and_no_other() {
    let node = Node::new();
    let print = preview1("(call $print (i32.const 1) (i32.const 100) (i32.const 6))");
    let mut neighbour = node.start(command(SPIN), |_| {}).await;
    let outcome = node.run(print.clone(), |launch| launch.stdout = Arc::new(Faulty)).await;
    assert_eq!(outcome.exit_code(), 134);
    assert!(matches!(&outcome, Outcome::Trapped { message } if message.contains("the host failed")), "{outcome:?}");
    assert!(node.stderr.text().contains("the host failed"), "{}", node.stderr.text());
    assert_eq!(node.run(print, |_| {}).await, Outcome::Exited(0));
    assert_eq!(node.stdout.text(), "hello\n");
    neighbour.kill();
    assert_eq!(neighbour.outcome().await, Outcome::Stopped);
}

/// A sink that keeps what it is given, and is behind until it is told that it has caught up.
#[derive(Default)]
struct Behind {
    kept: Captured,
    waited: AtomicUsize,
    has_caught_up: AtomicBool,
}

impl Sink for Behind {
    fn write(&self, bytes: &[u8]) {
        self.kept.write(bytes);
    }

    fn wait(&self) -> Option<Duration> {
        self.waited.fetch_add(1, SeqCst);
        (!self.has_caught_up.load(SeqCst)).then_some(Duration::from_millis(1))
    }
}

#[tokio::test]
async fn who_prints_too_fast_waits_and_loses_nothing() {
    let node = Node::with(|config| config.workers = 1);
    let sink = Arc::new(Behind::default());
    let print = preview1("(call $print (i32.const 1) (i32.const 100) (i32.const 6))");
    let mut running = node.start(print.clone(), |launch| launch.stdout = sink.clone()).await;
    until(|| sink.waited.load(SeqCst) > 2).await;
    assert_eq!(sink.kept.text(), "");
    // It takes nobody's turn while it waits.
    assert_eq!(node.run(print, |_| {}).await, Outcome::Exited(0));
    sink.has_caught_up.store(true, SeqCst);
    assert_eq!(running.outcome().await, Outcome::Exited(0));
    assert_eq!(sink.kept.text(), "hello\n");
}
