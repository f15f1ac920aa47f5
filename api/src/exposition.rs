//! Series in the text format that Prometheus reads.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A text of series, family by family.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family; its series follow.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A series of a family with its labels.
    pub fn series(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0 += name;
        for (at, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if at == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.0 += "\\\\",
                    '"' => self.0 += "\\\"",
                    '\n' => self.0 += "\\n",
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// The whole text.
    #[must_use]
    pub fn done(self) -> String {
        self.0
    }
}

/// How values are spread: `N` bounds, and what lies above them.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
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
    pub fn took(&self, bounds: &[f64; N], time: Duration) {
        self.add(bounds, time.as_secs_f64(), u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes how large something is.
    pub fn measured(&self, bounds: &[f64; N], bytes: u64) {
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
    pub fn print(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64; N]) {
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
    fn labels_are_escaped() {
        let mut out = Exposition::default();
        out.family("a_total", "counter", "As.");
        out.series("a_total", &[("x", "q\"\\\n"), ("y", "")], 1.5);
        out.series("a_total", &[], 2);
        let expected =
            "# HELP a_total As.\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n\",y=\"\"} 1.5\na_total 2\n";
        assert_eq!(out.done(), expected);
    }

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
}
