//! The resolvers of this machine: its `resolv.conf`, read again when it has changed, for a machine changes networks.
//!
//! It is looked at when somebody asks for a name outside, as glibc does, and never between.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long what was seen holds: a question should not cost a look at the disk each time.
pub(crate) const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// What tells one state of a file from another, also where another file has taken its place.
type Stamp = (u64, u64, i64, i64);

/// The file.
pub(crate) struct Host {
    path: PathBuf,
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    /// Nothing if there was no file.
    stamp: Option<Stamp>,
}

impl Host {
    /// Follows the file at `path`; it need not be there.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, seen: Mutex::new(None) }
    }

    /// The text, if it may be another than at the last call. A file that is not there says nothing.
    pub(crate) fn news(&self) -> Option<String> {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_some_and(|seen| now < seen.at + LOOKED_AT_EVERY) {
            return None;
        }
        let stamp = stamp(&self.path).ok();
        let before = seen.replace(Seen { at: now, stamp });
        let is_news = before.is_none_or(|before| before.stamp != stamp);
        is_news.then(|| std::fs::read_to_string(&self.path).unwrap_or_default())
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_once_for_each_of_its_states_and_looked_at_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let host = Host::new(path.clone());
        assert_eq!(host.news().as_deref(), Some(""), "there is none");
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(host.news(), None, "it is not looked at yet");
        tokio::time::advance(LOOKED_AT_EVERY).await;
        assert_eq!(host.news().as_deref(), Some("nameserver 192.0.2.1\n"));
        tokio::time::advance(LOOKED_AT_EVERY).await;
        assert_eq!(host.news(), None, "it is the same");
        // As programs write it: another file in its place, as long as the first.
        std::fs::write(dir.path().join("next"), "nameserver 192.0.2.2\n").unwrap();
        std::fs::rename(dir.path().join("next"), &path).unwrap();
        tokio::time::advance(LOOKED_AT_EVERY).await;
        assert_eq!(host.news().as_deref(), Some("nameserver 192.0.2.2\n"));
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(LOOKED_AT_EVERY).await;
        assert_eq!(host.news().as_deref(), Some(""));
    }
}
