//! Memory: the sum of a container's linear memories, held under its limit.
//!
//! A memory that would grow beyond the limit traps its guest and ends the container, as the kernel's
//! out-of-memory killer would. Tables and the number of instances are bounded too, since they cost the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio_util::sync::CancellationToken;
use wasmtime::ResourceLimiter;

/// The limit of a container whose pod sets none: ample for CPython, and far from what a laptop would miss.
pub(super) const MEMORY_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;

/// Elements of all tables of an instance: eight bytes each in the host. Large programs have some ten thousand.
const TABLE_ELEMENTS_MAX: usize = 1024 * 1024;

/// Core instances in a component: composed programs have a few dozen.
const CORE_INSTANCES_MAX: usize = 1000;

/// Linear memories in a component; each reserves address space.
const MEMORIES_MAX: usize = 64;

/// Tables in a component.
const TABLES_MAX: usize = 1000;

/// A container's memory account, shared by its instances.
pub(super) struct Memory {
    limit: u64,
    used: AtomicU64,
    exceeded: CancellationToken,
}

impl Memory {
    /// An empty account.
    pub(super) fn new(limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(MEMORY_BYTES_DEFAULT);
        Self { limit, used: AtomicU64::new(0), exceeded: CancellationToken::new() }
    }

    /// The bytes that all instances have now.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The most bytes that they may have together.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Cancelled when a memory wanted to grow beyond the limit.
    pub(super) fn exceeded(&self) -> &CancellationToken {
        &self.exceeded
    }

    fn reserve(&self, bytes: u64) -> bool {
        let grown = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Relaxed, Relaxed, grown).is_ok()
    }
}

/// One instance's part of the account; what it holds is given back when it is dropped.
pub(super) struct Limiter {
    memory: Arc<Memory>,
    held: u64,
    /// What the growth that is under way has reserved, in case it fails after all.
    growing: u64,
    elements: usize,
}

impl Limiter {
    /// An instance that holds nothing yet.
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, held: 0, growing: 0, elements: 0 }
    }
}

impl Limiter {
    /// The bytes that this instance has now.
    pub(super) fn held(&self) -> u64 {
        self.held
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.held, Relaxed);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.growing = 0;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let bytes = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
        if !self.memory.reserve(bytes) {
            self.memory.exceeded.cancel();
            let limit = self.memory.limit;
            return Err(wasmtime::format_err!("out of memory: the container's limit is {limit} bytes"));
        }
        self.held += bytes;
        self.growing = bytes;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        let bytes = std::mem::take(&mut self.growing);
        self.held -= bytes;
        self.memory.used.fetch_sub(bytes, Relaxed);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let sum = self.elements.saturating_add(desired.saturating_sub(current));
        let allowed = maximum.is_none_or(|maximum| desired <= maximum) && sum <= TABLE_ELEMENTS_MAX;
        if allowed {
            self.elements = sum;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_of_a_container_share_one_limit() {
        let memory = Arc::new(Memory::new(Some(100)));
        let (mut first, mut second) = (Limiter::new(memory.clone()), Limiter::new(memory.clone()));
        assert!(first.memory_growing(0, 60, None).unwrap());
        assert!(second.memory_growing(0, 40, None).unwrap());
        assert_eq!(memory.used(), 100);
        drop(first);
        assert!(second.memory_growing(40, 100, None).unwrap());
        assert!(!memory.exceeded().is_cancelled());
        assert!(second.memory_growing(100, 101, None).is_err());
        assert!(memory.exceeded().is_cancelled());
    }

    #[test]
    fn a_growth_beyond_the_programs_own_maximum_is_refused_and_harmless() {
        let memory = Arc::new(Memory::new(Some(100)));
        let mut limiter = Limiter::new(memory.clone());
        assert!(!limiter.memory_growing(0, 1000, Some(50)).unwrap());
        assert!(!memory.exceeded().is_cancelled());
    }

    #[test]
    fn tables_are_bounded_together_and_a_growth_beyond_is_refused() {
        let mut limiter = Limiter::new(Arc::new(Memory::new(None)));
        assert!(limiter.table_growing(0, TABLE_ELEMENTS_MAX - 1, None).unwrap());
        assert!(limiter.table_growing(0, 1, None).unwrap());
        assert!(!limiter.table_growing(1, 2, None).unwrap());
    }

    #[test]
    fn a_growth_that_the_system_refuses_is_given_back() {
        let memory = Arc::new(Memory::new(Some(100)));
        let mut limiter = Limiter::new(memory.clone());
        assert!(limiter.memory_growing(0, 70, None).unwrap());
        limiter.memory_grow_failed(wasmtime::format_err!("no pages")).unwrap();
        assert_eq!(memory.used(), 0);
    }
}
