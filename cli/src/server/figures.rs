//! What the parts of this process count, gathered for the `/metrics` of the API server.

use std::sync::{Arc, PoisonError, RwLock};

use coracle_api::meet::Figures;

/// A register that is filled while the parts are built: the API server comes first.
#[derive(Default)]
pub(crate) struct LocalFigures {
    parts: RwLock<Vec<Arc<dyn Figures>>>,
}

impl LocalFigures {
    /// Makes a part's figures known.
    pub(crate) fn add(&self, part: Arc<dyn Figures>) {
        self.parts.write().unwrap_or_else(PoisonError::into_inner).push(part);
    }
}

impl Figures for LocalFigures {
    fn figures(&self) -> String {
        self.parts.read().unwrap_or_else(PoisonError::into_inner).iter().map(|part| part.figures()).collect()
    }
}
