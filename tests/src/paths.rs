//! Where things are: the repository, the binary under test, the samples.
//!
//! Invariant: a test never builds anything; what is missing is named together with the command that makes it.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// The binary of the same profile as the running test.
pub fn coracle() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its file");
    // A test is target/<profile>/deps/<name>, the binary target/<profile>/coracle.
    let profile = test.parent().and_then(Path::parent).expect("cargo puts tests in target/<profile>/deps");
    let binary = profile.join("coracle");
    assert!(binary.exists(), "{} is missing: run `cargo build -p coracle`", binary.display());
    binary
}

/// A sample's component.
pub fn sample(name: &str) -> PathBuf {
    let wasm = root().join("target/samples").join(format!("{name}.wasm"));
    assert!(wasm.exists(), "{} is missing: run `scripts/samples`", wasm.display());
    wasm
}
