//! Many measurements of the same thing, and what is typical of them.
//!
//! Invariant: means are not offered; one slow moment of the machine would be in them.

/// Measurements, sorted.
#[derive(Debug, Clone, Default)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// Of these measurements.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Half were less.
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// So many of a hundred were less.
    pub fn percentile(&self, percent: usize) -> f64 {
        assert!(!self.0.is_empty(), "nothing was measured");
        let place = (self.0.len() * percent).div_ceil(100);
        self.0[place.clamp(1, self.0.len()) - 1]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_measurements() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((spread.median(), spread.percentile(99), spread.percentile(100)), (100.0, 198.0, 200.0));
        assert_eq!(Spread::of(vec![7.0]).percentile(0), 7.0);
    }
}
