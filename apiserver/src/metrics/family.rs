//! Values told apart by labels: looked up and counted without a lock.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

/// So many values of one name are kept; what would be more is not counted. Labels come from closed sets, so that
/// clients cannot grow them; this bounds what the sets multiply to.
const VALUES_MAX: usize = 4096;

/// The values of one name.
#[derive(Debug)]
pub(super) struct Family<K, V>(ArcSwap<HashMap<K, Arc<V>>>);

impl<K, V> Default for Family<K, V> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(HashMap::new()))
    }
}

impl<K: Copy + Eq + Hash + Ord, V: Default> Family<K, V> {
    /// The value under these labels.
    pub(super) fn of(&self, labels: &K) -> Arc<V> {
        if let Some(value) = self.0.load().get(labels) {
            return Arc::clone(value);
        }
        self.0.rcu(|values| {
            let mut values = HashMap::clone(values);
            if values.len() < VALUES_MAX {
                values.entry(*labels).or_default();
            }
            values
        });
        self.0.load().get(labels).cloned().unwrap_or_default()
    }

    /// All values in the order of their labels.
    pub(super) fn all(&self) -> Vec<(K, Arc<V>)> {
        let mut all: Vec<_> = self.0.load().iter().map(|(labels, value)| (*labels, Arc::clone(value))).collect();
        all.sort_by_key(|(labels, _)| *labels);
        all
    }
}

/// How values are spread: `N` bounds, and what lies above them.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    /// How many values lie up to each bound and above the one before.
    buckets: [AtomicU64; N],
    count: AtomicU64,
    /// In millionths, so that it can be added to without a lock.
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), count: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    /// Notes how long something took.
    pub(super) fn took(&self, bounds: &[f64; N], time: Duration) {
        self.add(bounds, time.as_secs_f64(), u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes how large something is.
    pub(super) fn measured(&self, bounds: &[f64; N], bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        self.add(bounds, bytes as f64, bytes.saturating_mul(1_000_000));
    }

    fn add(&self, bounds: &[f64; N], value: f64, millionths: u64) {
        if let Some(bucket) = self.buckets.get(bounds.partition_point(|bound| *bound < value)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(millionths, Ordering::Relaxed);
    }

    /// Writes the values up to each bound, their sum and count.
    pub(super) fn print(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64; N]) {
        let mut up_to = 0;
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            up_to += bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {up_to}");
        }
        let count = self.count.load(Ordering::Relaxed);
        let millionths = self.sum.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
        let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_under_the_first_bound_that_it_does_not_exceed() {
        let (bounds, histogram) = ([0.1, 1.0], Histogram::<2>::default());
        for millis in [50, 100, 500, 3000] {
            histogram.took(&bounds, Duration::from_millis(millis));
        }
        let mut out = String::new();
        histogram.print(&mut out, "x", "a=\"b\"", &bounds);
        expect_test::expect![[r#"
            x_bucket{a="b",le="0.1"} 2
            x_bucket{a="b",le="1"} 3
            x_bucket{a="b",le="+Inf"} 4
            x_sum{a="b"} 3.650000
            x_count{a="b"} 4
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn values_are_bounded() {
        let family = Family::<usize, AtomicU64>::default();
        for labels in 0..VALUES_MAX + 10 {
            family.of(&labels).fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(family.all().len(), VALUES_MAX);
    }
}
