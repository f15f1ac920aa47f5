//! A store that keeps nothing: all of [`Local`] but the disk, for tests.
//!
//! It refuses to be durable: what is committed lives as long as the store.

use coracle_api::revision::Revision;

use super::Local;
use super::writer::{Disk, Row, WriteError};

/// The revision of an empty store: not zero, which Kubernetes' clients understand as "any".
pub(super) const FIRST: Revision = Revision::new(1);

struct Nowhere;

impl Disk for Nowhere {
    fn write(&mut self, _rows: &[Row], _reserved: Revision) -> Result<(), WriteError> {
        Ok(())
    }
}

/// An empty store.
///
/// # Errors
/// When the system has no thread to give.
pub fn open() -> std::io::Result<Local> {
    Local::start(Vec::new(), FIRST, Nowhere)
}
