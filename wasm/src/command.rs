//! A command: one instance, run once to its end.
//!
//! WASI has no signals. A command that is told to stop is interrupted as soon as no connection that it accepted is
//! open; it never learns of it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::host::Host;
use super::meter::{Cpu, Metered};
use super::outcome::Outcome;
use super::preview1;
use super::program::{Pre, Program};
use super::state::Template;

/// Runs the command of `program` to its end, or until it is stopped and has nothing in flight.
pub(super) async fn run(
    host: Arc<Host>,
    program: Arc<Program>,
    template: Arc<Template>,
    room: OwnedSemaphorePermit,
    cpu: Arc<Cpu>,
) -> Outcome {
    let pod = template.pod().clone();
    tokio::select! {
        biased;
        outcome = call_metered(host, program, template, room, cpu) => outcome,
        () = pod.drained() => Outcome::Stopped,
    }
}

/// Runs the command of `program` to its end.
pub(super) async fn call_metered(
    host: Arc<Host>,
    program: Arc<Program>,
    template: Arc<Template>,
    room: OwnedSemaphorePermit,
    cpu: Arc<Cpu>,
) -> Outcome {
    let theirs = host.clone();
    let call = async move { Outcome::of_run(call(&theirs, &program, &template, room).await) };
    Metered::new(call, cpu, host).await
}

async fn call(
    host: &Host,
    program: &Program,
    template: &Template,
    room: OwnedSemaphorePermit,
) -> wasmtime::Result<Result<(), ()>> {
    let mut store = template.store(host, room)?;
    match program.pre() {
        Pre::Run01(pre) => preview1::run(&mut store, pre).await.map(Ok),
        Pre::Run02(pre) => {
            let command = pre.instantiate_async(&mut store).await?;
            command.wasi_cli_run().call_run(&mut store).await
        }
        Pre::Run03(pre) => {
            let command = pre.instantiate_async(&mut store).await?;
            store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await?
        }
        Pre::Http(_) => Err(wasmtime::format_err!("an HTTP program is served, not run")),
    }
}
