//! Compiled programs on disk, so that a program is compiled once and then mapped.
//!
//! Invariant: only what this program wrote is loaded, for what is loaded is executed. A file is keyed by the image's
//! digest and by everything that shapes machine code; it is written aside, made durable, then renamed; file and
//! directory must belong to this user and be writable by nobody else.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use coracle_api::clock;
use coracle_api::names::Digest;
use tracing::{debug, warn};
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

use super::code::Code;

/// The most bytes of compiled programs that are kept; the least recently used go first. A CPython is 60 MB compiled.
const CACHE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// A program that is used all the time is noted as used no more often than this: it is a write to the disk.
const USE_IS_NOTED_AFTER: Duration = Duration::from_secs(60);

/// The ending of a compiled program's file.
const SUFFIX: &str = ".cwasm";

/// Raised when something else is compiled from the same image.
const FORMAT: u32 = 2;

/// Permission bits that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// The compiled programs on disk, for those who know which images there are.
#[derive(Clone)]
pub struct Compiled(pub(super) Arc<Cache>);

impl Compiled {
    /// Removes the programs of all layers but these. A program in use goes on: it stays mapped. Returns how many
    /// bytes that gave.
    ///
    /// # Errors
    /// The directory cannot be read, or a file cannot be removed.
    pub fn keep_only(&self, layers: &BTreeSet<Digest>) -> io::Result<u64> {
        self.0.keep_only(layers)
    }
}

/// The directory of compiled programs.
pub(super) struct Cache {
    /// Its part for this engine: what another version compiled lies elsewhere and is removed.
    dir: PathBuf,
    written: AtomicU64,
}

impl Cache {
    /// Opens the cache under `root`, making it if need be.
    ///
    /// # Errors
    /// The directory cannot be made, or others may write to it.
    pub(super) fn open(root: &Path, engine: &Engine) -> io::Result<Self> {
        make_private(root)?;
        let name = engine_key(engine);
        let dir = root.join(&name);
        make_private(&dir)?;
        forget_other_engines(root, &name);
        forget_partial(&dir);
        Ok(Self { dir, written: AtomicU64::new(0) })
    }

    /// The compiled program of `digest`, if it is here and ours. One that cannot be loaded is removed.
    pub(super) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Code> {
        let path = self.path(digest);
        let metadata = fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || !is_private(&metadata) {
            warn!(path = %path.display(), "a compiled program does not belong to this user alone: it is not loaded");
            return None;
        }
        match deserialize(engine, &path) {
            Ok(code) => {
                note_use(&path, &metadata);
                Some(code)
            }
            Err(error) => {
                warn!(%error, path = %path.display(), "a compiled program cannot be loaded: it is compiled anew");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Where a program may be compiled to, before it is kept.
    pub(super) fn aside(&self, digest: &Digest) -> PathBuf {
        let number = self.written.fetch_add(1, Relaxed);
        self.dir.join(format!("{}.{}.{number}.partial", digest.hex(), std::process::id()))
    }

    /// Keeps the program of `digest` that was compiled to the file `aside`, whole and durable.
    ///
    /// # Errors
    /// It cannot be kept; then the file is gone too.
    pub(super) fn keep(&self, digest: &Digest, aside: &Path) -> io::Result<()> {
        let kept = fs::metadata(aside).and_then(|file| {
            self.make_room(file.len())?;
            fs::rename(aside, self.path(digest))
        });
        if kept.is_err() {
            let _ = fs::remove_file(aside);
        }
        kept
    }

    /// Keeps the compiled program of `digest`.
    ///
    /// # Errors
    /// It cannot be written; the program can be used nevertheless.
    pub(super) fn put(&self, digest: &Digest, compiled: &[u8]) -> io::Result<()> {
        let aside = self.aside(digest);
        let written = write_durably(&aside, compiled);
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written.and_then(|()| self.keep(digest, &aside))
    }

    fn keep_only(&self, layers: &BTreeSet<Digest>) -> io::Result<u64> {
        let kept: BTreeSet<&str> = layers.iter().map(Digest::hex).collect();
        let mut freed: u64 = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            // What is still being written has another ending.
            let Some(hex) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else { continue };
            if !kept.contains(hex) {
                let bytes = entry.metadata()?.len();
                fs::remove_file(entry.path())?;
                freed = freed.saturating_add(bytes);
            }
        }
        Ok(freed)
    }

    /// Removes the files that were not used for longest until `size` more bytes fit.
    fn make_room(&self, size: u64) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path().extension().is_none_or(|e| e != "cwasm") {
                // It is being written, or was left by a process that ended: the next opening removes it.
                continue;
            }
            let metadata = entry.metadata()?;
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        for path in surplus(files, size) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}{SUFFIX}", digest.hex()))
    }
}

/// Which files go, least recently used first, so that `size` more bytes fit.
fn surplus(mut files: Vec<(SystemTime, u64, PathBuf)>, size: u64) -> Vec<PathBuf> {
    files.sort();
    let mut sum = files.iter().fold(size, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
    let mut gone = Vec::new();
    for (_, bytes, path) in files {
        if sum <= CACHE_BYTES_MAX {
            break;
        }
        sum = sum.saturating_sub(bytes);
        gone.push(path);
    }
    gone
}

/// Sets a file's time to now, which is what [`Cache::make_room`] goes by. An error is no reason not to use it.
fn note_use(path: &Path, metadata: &fs::Metadata) {
    let now = SystemTime::from(clock::now());
    let recent = metadata.modified().is_ok_and(|then| now.duration_since(then).is_ok_and(|d| d < USE_IS_NOTED_AFTER));
    if !recent && let Err(error) = File::open(path).and_then(|file| file.set_modified(now)) {
        debug!(%error, path = %path.display(), "it cannot be kept when a compiled program was last used");
    }
}

/// Everything that shapes machine code: the engine's version and settings, the machine's features, and our version.
fn engine_key(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    FORMAT.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Removes what other versions of the engine compiled. What cannot be removed is left: it is never loaded.
fn forget_other_engines(root: &Path, current: &str) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_key = name.len() == 16 && name.to_str().is_some_and(|n| n.chars().all(|c| c.is_ascii_hexdigit()));
        if is_key && name != current {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes what was being written when a former process ended. Nobody else writes: the data directory is ours alone.
fn forget_partial(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|p| p.extension().is_some_and(|e| e == "partial")) {
        let _ = fs::remove_file(path);
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = fs::symlink_metadata(dir)?;
    if metadata.is_dir() && is_private(&metadata) {
        return Ok(());
    }
    let message = "it must be a directory that belongs to this user and is writable by nobody else (chmod go-w)";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

fn is_private(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & OTHERS_WRITE == 0
}

/// Writes a file that others cannot read, and that is on the disk when this returns.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Maps a compiled program into the process. Its callers have checked that the file is ours.
#[expect(unsafe_code, reason = "the one way to load compiled code without copying and compiling it")]
fn deserialize(engine: &Engine, path: &Path) -> wasmtime::Result<Code> {
    let kind = Engine::detect_precompiled_file(path)?;
    // SAFETY: the file was produced by `serialize` of a compatible engine: its directory is keyed by the
    // engine's compatibility hash, file and directory belong to this user and are writable by nobody else (`get`,
    // `open`), and it was complete and durable before it got its name (`put`).
    unsafe {
        match kind {
            Some(Precompiled::Module) => Module::deserialize_file(engine, path).map(Code::Module),
            Some(Precompiled::Component) | None => Component::deserialize_file(engine, path).map(Code::Component),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed() {
        let file = |age: u64, bytes| {
            (SystemTime::UNIX_EPOCH + Duration::from_secs(age), bytes, PathBuf::from(age.to_string()))
        };
        let half = CACHE_BYTES_MAX / 2;
        assert_eq!(surplus(vec![file(2, half), file(1, half)], 0), Vec::<PathBuf>::new());
        assert_eq!(surplus(vec![file(2, half), file(1, half)], 1), [PathBuf::from("1")]);
        assert_eq!(surplus(vec![file(2, half), file(1, half)], half + 1), [PathBuf::from("1"), PathBuf::from("2")]);
    }
}
