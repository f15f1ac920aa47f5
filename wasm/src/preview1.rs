//! Core modules of WASI preview 1: what they are given, and how they are entered.
//!
//! They run as they are, on the host's own functions, and are not wrapped as components. The adapter that would wrap
//! them keeps its state in the guest's memory, on pages that it takes by `memory.grow`; an allocator that looks for the
//! end of memory when it is first used (that of wasi-libc before 2023, that of AssemblyScript) takes these pages for its
//! own and overwrites them.

use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, Result, Store};
use wasmtime_wasi::{I32Exit, p1};

use super::state::State;

/// The module that these guests import from.
pub(super) const PREVIEW1: &str = "wasi_snapshot_preview1";

/// The function that a command is entered by.
pub(super) const START: &str = "_start";

/// An exit code has eight bits, as everywhere.
const EXIT_CODE_BITS: u32 = 0xff;

/// Every function of preview 1.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, State::preview1)?;
    // Wasmtime's own ends a guest by a trap if the code is 126 or more: shells give such codes, and Kubernetes shows them.
    linker.allow_shadowing(true);
    linker.func_wrap(PREVIEW1, "proc_exit", |code: u32| -> Result<()> { Err(exit(code).into()) })?;
    Ok(linker)
}

fn exit(code: u32) -> I32Exit {
    I32Exit((code & EXIT_CODE_BITS).cast_signed())
}

/// The module with what it imports.
///
/// # Errors
/// A message that names what cannot be given, or what its entry is instead.
pub(super) fn link(linker: &Linker<State>, module: &Module) -> Result<InstancePre<State>, String> {
    match module.get_export(START) {
        Some(ExternType::Func(start)) if start.params().len() == 0 && start.results().len() == 0 => {}
        _ => return Err(format!("the core module's {START} is not a function without parameters and results")),
    }
    let pre = linker.instantiate_pre(module);
    pre.map_err(|error| format!("the core module imports what Coracle does not give: {error:#}"))
}

/// Runs a command to its end.
pub(super) async fn run(store: &mut Store<State>, pre: &InstancePre<State>) -> Result<()> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, START)?;
    start.call_async(store, ()).await
}
