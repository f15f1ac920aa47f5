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

/// Where `scripts/clients` keeps what it installs.
#[expect(clippy::disallowed_methods, reason = "it must look where the script put it, which reads the same variables")]
pub fn clients() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = set("CORACLE_CACHE").or_else(|| Some(set("XDG_CACHE_HOME")?.join("coracle")));
    let cache = cache.or_else(|| Some(set("HOME")?.join(".cache/coracle"))).expect("there is a home");
    cache.join("clients")
}

/// The registry that images are pulled from.
pub fn registry() -> PathBuf {
    let binary = clients().with_file_name("registry").join("docker-registry");
    assert!(binary.exists(), "{} is missing: run `scripts/registry`", binary.display());
    binary
}

/// A client that others wrote.
pub fn client(name: &str) -> PathBuf {
    let place = clients().join(name);
    assert!(place.join(".version").exists(), "{} is missing: run `scripts/clients`", place.display());
    place
}

/// A sample's component.
pub fn sample(name: &str) -> PathBuf {
    let wasm = root().join("target/samples").join(format!("{name}.wasm"));
    assert!(wasm.exists(), "{} is missing: run `scripts/samples`", wasm.display());
    wasm
}

/// A component that only the tests run.
pub fn guest(name: &str) -> PathBuf {
    let wasm = root().join("target/guests").join(format!("{name}.wasm"));
    assert!(wasm.exists(), "{} is missing: run `scripts/guests`", wasm.display());
    wasm
}
