//! What containers print, in files as CRI runtimes write them: `<time> stdout F <line>`.
//!
//! One directory per pod (`<namespace>_<name>_<uid>`), in it one per container, in it one log per run, numbered by
//! the restart count and rotated by size. A container that prints nothing causes no writes.

mod line;
mod read;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use read::{Options, read};
pub use write::{ContainerLog, Output};

/// When logs are rotated: the kubelet's own defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rotation {
    /// A file of this size is put aside and a new one begun.
    pub max_bytes: u64,
    /// How many files of one run are kept, the current one included.
    pub max_files: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: 10 * 1024 * 1024, max_files: 5 }
    }
}

/// Which log: a container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container.
    pub container: String,
}

/// The logs of all pods of a node.
#[derive(Debug, Clone)]
pub struct Logs {
    root: PathBuf,
    rotation: Rotation,
    live: Arc<Mutex<BTreeMap<Place, Arc<ContainerLog>>>>,
}

impl Logs {
    /// Logs under `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, rotation: Rotation) -> Self {
        Self { root: root.into(), rotation, live: Arc::default() }
    }

    /// Begins the log of a run; the logs of runs before the previous one are deleted.
    ///
    /// # Errors
    /// An I/O error if they cannot be deleted.
    pub fn begin(&self, place: &Place, restarts: u32) -> io::Result<Arc<ContainerLog>> {
        let dir = self.dir(place);
        for (run, path) in runs(&dir)? {
            if run.saturating_add(1) < restarts {
                std::fs::remove_file(path)?;
            }
        }
        let log = Arc::new(ContainerLog::new(&dir, restarts, self.rotation));
        self.lock().insert(place.clone(), Arc::clone(&log));
        Ok(log)
    }

    /// The log of the run that is going on, if there is one.
    #[must_use]
    pub fn live(&self, place: &Place) -> Option<Arc<ContainerLog>> {
        self.lock().get(place).cloned()
    }

    /// The run is over.
    pub fn end(&self, place: &Place, log: &Arc<ContainerLog>) {
        log.close();
        let mut live = self.lock();
        if live.get(place).is_some_and(|l| Arc::ptr_eq(l, log)) {
            live.remove(place);
        }
    }

    /// The directory of a container's logs.
    #[must_use]
    pub fn dir(&self, place: &Place) -> PathBuf {
        self.root.join(pod_dir(&place.namespace, &place.pod, &place.uid)).join(&place.container)
    }

    /// Deletes the logs of a pod.
    ///
    /// # Errors
    /// An I/O error, but not if there were none.
    pub fn remove(&self, namespace: &str, pod: &str, uid: &str) -> io::Result<()> {
        self.lock().retain(|place, _| place.uid != uid);
        match std::fs::remove_dir_all(self.root.join(pod_dir(namespace, pod, uid))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Deletes the logs of all pods but those whose uid `keeps` knows.
    pub fn sweep(&self, keeps: impl Fn(&str) -> bool) {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((_, uid)) = name.rsplit_once('_') else { continue };
            if !keeps(uid)
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                tracing::warn!(%error, pod = name, "cannot delete the logs of a pod that is gone");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Arc<ContainerLog>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pod_dir(namespace: &str, pod: &str, uid: &str) -> String {
    format!("{namespace}_{pod}_{uid}")
}

/// Every file of a container's logs, with the number of its run; a container that printed nothing has none.
fn runs(dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut all = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let run = name.to_str().and_then(|n| n.split_once(".log")).and_then(|(run, _)| run.parse().ok());
        all.extend(run.map(|run| (run, entry.path())));
    }
    Ok(all)
}

/// The file of a run: the current one, or the one that was put aside as number `generation`.
fn file_name(run: u32, generation: Option<u64>) -> String {
    match generation {
        None => format!("{run}.log"),
        Some(generation) => format!("{run}.log.{generation}"),
    }
}

#[cfg(test)]
mod tests;
