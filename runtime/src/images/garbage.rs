//! Which images go when nobody needs them: on request, or when the disk fills up. The policy is the kubelet's.
//!
//! Invariant: what a pod of this node uses never goes. What was pushed never goes unasked: it may be nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coracle_api::names::Digest;
use jiff::Timestamp;

use super::entry::{Entry, Origin};
use super::layout::Layout;
use super::uses::Uses;
use super::{ImageStore, LayoutError, Listed, Pick, listed};

/// The kubelet's default for the share of the disk, in percent, at which images are thrown away.
const HIGH_THRESHOLD_PERCENT: u8 = 85;
/// The kubelet's default for the share of the disk, in percent, down to which they are thrown away.
const LOW_THRESHOLD_PERCENT: u8 = 80;
/// The kubelet's default for how long an image is left in peace after it arrived.
const MIN_AGE: Duration = Duration::from_secs(120);

/// When images are thrown away, as the kubelet's configuration has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// From which share of the disk on, in percent; 100 stands for never.
    pub high_percent: u8,
    /// Down to which share of the disk, in percent.
    pub low_percent: u8,
    /// An image stays at least for so long.
    pub min_age: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { high_percent: HIGH_THRESHOLD_PERCENT, low_percent: LOW_THRESHOLD_PERCENT, min_age: MIN_AGE }
    }
}

/// The disk that holds the images, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// All there is.
    pub(crate) capacity: u64,
    /// What may still be written.
    pub(crate) available: u64,
}

/// What is to be done about the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// There is room.
    Nothing,
    /// These images go, in this order.
    Free {
        images: Vec<Digest>,
        /// The bytes that would bring the disk down to the lower share.
        wanted: u64,
        /// The bytes that the images have.
        found: u64,
    },
}

/// How far a removal of unused images reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// What can be pulled again, and what has no tag.
    Replaceable,
    /// Whatever no pod uses.
    All,
}

/// Plans what goes, least recently used first. An image of several names goes only if none of them keeps it.
pub(crate) fn plan(policy: &Policy, disk: Disk, images: &[Listed], now: Timestamp) -> Plan {
    let available = disk.available.min(disk.capacity);
    // Rounded as the kubelet does: the share that is free loses its fraction.
    let free_percent = (u128::from(available) * 100).checked_div(u128::from(disk.capacity)).unwrap_or(100);
    let used_percent = 100_u128.saturating_sub(free_percent);
    if policy.high_percent >= 100 || used_percent < u128::from(policy.high_percent) {
        return Plan::Nothing;
    }
    let low = u128::from(100_u8.saturating_sub(policy.low_percent));
    let target = u64::try_from(u128::from(disk.capacity) * low / 100).unwrap_or(u64::MAX);
    let wanted = target.saturating_sub(available);
    let mut by_digest: BTreeMap<&Digest, Vec<&Listed>> = BTreeMap::new();
    for image in images {
        by_digest.entry(&image.digest).or_default().push(image);
    }
    let old = |i: &Listed| Duration::try_from(now.duration_since(i.arrived)).is_ok_and(|age| age >= policy.min_age);
    let may_go = |i: &&Listed| i.pods.is_empty() && i.origin == Origin::Pulled && old(i);
    let mut candidates: Vec<&Listed> = by_digest
        .into_values()
        .filter(|names| names.iter().all(may_go))
        .filter_map(|names| names.first().copied())
        .collect();
    candidates.sort_by_key(|i| (i.last_used, i.arrived));
    let (mut images, mut found) = (Vec::new(), 0_u64);
    for candidate in candidates {
        if found >= wanted {
            break;
        }
        found = found.saturating_add(candidate.size);
        images.push(candidate.digest.clone());
    }
    Plan::Free { images, wanted, found }
}

impl ImageStore {
    /// Whether it is known what is in use, so that the rest may be thrown away.
    pub(crate) fn uses_are_known(&self) -> bool {
        self.uses().are_known()
    }

    /// Throws away the images of these digests unless a pod has begun to use one. Returns how many bytes that gave.
    ///
    /// # Errors
    /// [`LayoutError`] if the index cannot be written.
    pub(crate) fn collect(&self, digests: &[Digest]) -> Result<u64, LayoutError> {
        let removed = self.take_out(|layout| {
            let uses = self.uses();
            let unused = |e: &Entry| uses.are_known() && uses.of(e.reference.as_ref(), &e.digest).is_empty();
            layout.remove_all(|e| digests.contains(&e.digest) && unused(e))
        })?;
        Ok(removed.bytes)
    }

    /// What would go, and how many bytes that would give.
    pub(super) fn unused(&self, reach: Reach) -> (Vec<Listed>, u64) {
        let (layout, uses) = (self.layout(), self.uses());
        let goes = going(&layout, &uses, reach);
        let images = layout.entries().iter().filter(|e| goes.contains(&key(e)));
        (images.map(|e| listed(&layout, &uses, e)).collect(), layout.bytes_of(|e| goes.contains(&key(e))))
    }

    /// Takes out what no pod uses. Returns it, and how many bytes that gave.
    pub(super) fn remove_unused(&self, reach: Reach) -> Result<(Vec<Listed>, u64), LayoutError> {
        let mut images = Vec::new();
        let removed = self.take_out(|layout| {
            let uses = self.uses();
            let goes = going(layout, &uses, reach);
            let gone = layout.entries().iter().filter(|e| goes.contains(&key(e)));
            images = gone.map(|e| listed(layout, &uses, e)).collect();
            layout.remove_all(|e| goes.contains(&key(e)))
        })?;
        Ok((images, removed.bytes))
    }
}

/// What tells entries apart.
type Key = (Digest, Option<String>);

fn key(entry: &Entry) -> Key {
    (entry.digest.clone(), entry.reference.as_ref().map(ToString::to_string))
}

/// The entries that nobody needs. The parts of an image of several stay and go with it, and what is said about an
/// image with that image.
fn going(layout: &Layout, uses: &Uses, reach: Reach) -> BTreeSet<Key> {
    if !uses.are_known() {
        return BTreeSet::new();
    }
    let untagged = |e: &Entry| e.reference.as_ref().is_none_or(|r| matches!(r.pick(), Pick::Digest(_)));
    let unused = |e: &&Entry| {
        let replaceable = reach == Reach::All || e.origin == Origin::Pulled || untagged(e);
        replaceable && uses.of(e.reference.as_ref(), &e.digest).is_empty()
    };
    let (going, staying): (Vec<&Entry>, Vec<&Entry>) = layout.entries().iter().partition(unused);
    let is_held =
        |e: &Entry| staying.iter().any(|s| s.blobs.contains_key(&e.digest) || e.subject.as_ref() == Some(&s.digest));
    going.into_iter().filter(|e| !is_held(e)).map(key).collect()
}

#[cfg(test)]
mod tests {
    use coracle_api::names::NamespacedName;
    use expect_test::{Expect, expect};

    use super::*;

    const NOW: Timestamp = Timestamp::constant(10_000, 0);

    fn image(name: &str, size: u64, last_used: i64) -> Listed {
        let first = name.bytes().next().unwrap_or_default() % 10;
        Listed {
            reference: Some(name.parse().unwrap()),
            digest: Digest::new(format!("sha256:{}", first.to_string().repeat(64))).unwrap(),
            media_type: String::new(),
            size,
            origin: Origin::Pulled,
            arrived: Timestamp::from_second(100).unwrap(),
            created: None,
            last_used: Timestamp::from_second(last_used).unwrap(),
            pods: Vec::new(),
        }
    }

    fn check(used: u64, images: &[Listed], expected: Expect) {
        let disk = Disk { capacity: 1000, available: 1000 - used };
        let name = |digest: &Digest| images.iter().find(|i| i.digest == *digest).unwrap().reference.clone().unwrap();
        let text = match plan(&Policy::default(), disk, images, NOW) {
            Plan::Nothing => "nothing".to_owned(),
            Plan::Free { images, wanted, found } => {
                let names: Vec<String> = images.iter().map(|d| name(d).familiar()).collect();
                format!("{} for {found} of {wanted}", names.join(" "))
            }
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn a_full_disk_is_brought_down_to_the_lower_share_by_the_least_recently_used() {
        let images = [image("a", 30, 500), image("b", 30, 300), image("c", 30, 400)];
        check(839, &images, expect!["nothing"]);
        // 84.9 %, which the kubelet rounds up.
        check(849, &images, expect!["b:latest c:latest for 60 of 49"]);
        check(850, &images, expect!["b:latest c:latest for 60 of 50"]);
        check(999, &images, expect!["b:latest c:latest a:latest for 90 of 199"]);
        check(900, &[], expect![" for 0 of 100"]);
    }

    #[test]
    fn what_is_used_pushed_or_young_stays() {
        let used = Listed { pods: vec![NamespacedName::new("n", "p")], ..image("a", 30, 1) };
        let pushed = Listed { origin: Origin::Pushed, ..image("b", 30, 1) };
        let young = Listed { arrived: Timestamp::from_second(9_900).unwrap(), ..image("c", 30, 1) };
        check(900, &[used, pushed, young, image("d", 30, 2)], expect!["d:latest for 30 of 100"]);
    }

    #[test]
    fn an_image_stays_while_one_of_its_names_keeps_it() {
        let names = [image("a", 30, 1), Listed { origin: Origin::Pushed, ..image("a:2", 30, 1) }];
        check(900, &names, expect![" for 0 of 100"]);
    }

    #[test]
    fn a_threshold_of_a_hundred_throws_nothing_away() {
        let policy = Policy { high_percent: 100, ..Policy::default() };
        let full = Disk { capacity: 1000, available: 0 };
        assert_eq!(plan(&policy, full, &[image("a", 1, 1)], NOW), Plan::Nothing);
    }
}
