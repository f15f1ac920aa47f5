//! How many files the server may have open: each pod that listens takes one and its log another, and a login shell
//! usually allows 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, info};

/// As many as Linux lets any process have, if nobody changed that (`fs.nr_open`).
const FILES_WANTED: u64 = 1_048_576;

/// Raises the limit: as root to what is wanted, else to what this user is allowed.
pub(super) fn raise_limit() {
    let before = getrlimit(Resource::Nofile);
    if before.current.is_none_or(|files| files >= FILES_WANTED) {
        return;
    }
    let hard = before.maximum.map(|files| files.max(FILES_WANTED));
    let wanted = Rlimit { current: Some(FILES_WANTED), maximum: hard };
    let allowed = Rlimit { current: before.maximum, maximum: before.maximum };
    match setrlimit(Resource::Nofile, wanted).or_else(|_| setrlimit(Resource::Nofile, allowed)) {
        Ok(()) => debug!(from = before.current, to = getrlimit(Resource::Nofile).current, "more files may be open"),
        Err(error) => info!(%error, files = before.current, "the limit of open files stays as it is"),
    }
}
