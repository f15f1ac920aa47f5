//! The line of those who wait for a turn: by virtual time, so that CPU divides by weight.
//!
//! It is start-time fair queueing. A turn costs its container virtual time, the more the lighter its weight is;
//! who has used least comes next. Virtual time stands still for who does not run, and none of it can be saved up: a
//! container that comes back after a rest stands with the others, not before them.
//!
//! Invariant: the line holds no clock and decides by numbers alone.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The weight of a container that requests nothing, as the kernel's CPU shares have it: the least there is.
const WEIGHT_MIN: u64 = 2;

/// The weight of a request of one core, as the kernel's CPU shares have it.
const WEIGHT_PER_CORE: u64 = 1024;

/// Virtual nanoseconds that a nanosecond costs at weight 1: fine enough that a turn of a microsecond costs something
/// at the weight of a hundred cores, coarse enough that the count lasts for years.
const SCALE: u64 = 128;

/// A container's place in virtual time, shared by its instances.
pub(crate) struct Share {
    weight: u64,
    /// Up to where its turns have paid.
    paid: AtomicU64,
}

impl Share {
    /// The share of a container that requests so many thousandths of a core.
    pub(crate) fn of_request(millicores: Option<u32>) -> Self {
        let weight = u64::from(millicores.unwrap_or(0)) * WEIGHT_PER_CORE / 1000;
        Self { weight: weight.max(WEIGHT_MIN), paid: AtomicU64::new(0) }
    }

    /// Up to where it has paid.
    pub(super) fn paid(&self) -> u64 {
        self.paid.load(Relaxed)
    }

    /// Where a turn that started at `start` is after so many nanoseconds.
    pub(super) fn after(&self, start: u64, nanos: u64) -> u64 {
        start.saturating_add(nanos.saturating_mul(SCALE) / self.weight)
    }

    /// Pays for a turn of `nanos` that started at `start`.
    pub(super) fn pay(&self, start: u64, nanos: u64) {
        let step = |paid: u64| Some(self.after(paid.max(start), nanos));
        // The closure always answers, so the update always happens.
        let _ = self.paid.fetch_update(Relaxed, Relaxed, step);
    }
}

/// Those who wait, the next one first; among equals whoever came first.
pub(super) struct Line<T> {
    waiting: BinaryHeap<Reverse<Place<T>>>,
    /// The places of those who had rested.
    rested: BTreeSet<(u64, u64)>,
    came: u64,
}

/// Why somebody wants a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Something happened that it had waited for.
    Rested,
    /// It was interrupted, and has more to do.
    More,
}

struct Place<T> {
    start: u64,
    came: u64,
    wants: Wants,
    who: T,
}

impl<T> Place<T> {
    fn key(&self) -> (u64, u64) {
        (self.start, self.came)
    }
}

impl<T> PartialEq for Place<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Place<T> {}

impl<T> PartialOrd for Place<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Place<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Line<T> {
    /// Nobody waits.
    pub(super) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), rested: BTreeSet::new(), came: 0 }
    }

    /// `who` waits for a turn that starts at `start`.
    pub(super) fn push(&mut self, start: u64, wants: Wants, who: T) {
        self.came += 1;
        self.enter(Place { start, came: self.came, wants, who });
    }

    /// The earliest start among those who had rested, who may cut a running turn short.
    pub(super) fn urgent(&self) -> Option<u64> {
        self.rested.first().map(|(start, _)| *start)
    }

    /// The next one and its start. `paid` tells up to where a container has paid by now: another of its instances may
    /// have had a turn meanwhile, and then this one goes back to where it belongs.
    pub(super) fn pop(&mut self, paid: impl Fn(&T) -> u64) -> Option<(u64, T)> {
        while let Some(Reverse(place)) = self.waiting.pop() {
            self.rested.remove(&place.key());
            let paid = paid(&place.who);
            if paid <= place.start {
                return Some((place.start, place.who));
            }
            self.enter(Place { start: paid, ..place });
        }
        None
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn enter(&mut self, place: Place<T>) {
        if place.wants == Wants::Rested {
            self.rested.insert(place.key());
        }
        self.waiting.push(Reverse(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: u64 = 10_000_000;

    /// Lets spinners with these requests share one core for a thousand turns of 10 ms; says how many each had.
    fn turns_of(requests: &[Option<u32>]) -> Vec<u32> {
        let shares: Vec<Share> = requests.iter().map(|request| Share::of_request(*request)).collect();
        let mut line = Line::new();
        let mut turns = vec![0; shares.len()];
        for who in 0..shares.len() {
            line.push(0, Wants::More, who);
        }
        for _ in 0..1000 {
            let (start, who) = line.pop(|who: &usize| shares[*who].paid()).unwrap();
            turns[who] += 1;
            shares[who].pay(start, TURN);
            line.push(start.max(shares[who].paid()), Wants::More, who);
        }
        turns
    }

    #[test]
    fn equals_share_equally() {
        assert_eq!(turns_of(&[None, None, None, None]), [250, 250, 250, 250]);
        assert_eq!(turns_of(&[Some(500), Some(500)]), [500, 500]);
    }

    #[test]
    fn turns_divide_by_requests() {
        assert_eq!(turns_of(&[Some(3000), Some(1000)]), [750, 250]);
        assert_eq!(turns_of(&[Some(500), Some(250), Some(250)]), [500, 250, 250]);
    }

    #[test]
    fn who_requests_nothing_gets_the_rest() {
        let turns = turns_of(&[Some(1000), None]);
        assert!(turns[0] >= 997 && turns[1] >= 1, "{turns:?}");
    }

    #[test]
    fn instances_of_one_container_share_its_part() {
        let shares = [Share::of_request(Some(1000)), Share::of_request(Some(1000))];
        let (mut line, mut turns) = (Line::new(), [0; 2]);
        for who in [0, 0, 0, 1] {
            line.push(0, Wants::More, who);
        }
        for _ in 0..1000 {
            let (start, who) = line.pop(|who: &usize| shares[*who].paid()).unwrap();
            turns[who] += 1;
            shares[who].pay(start, TURN);
            line.push(shares[who].paid(), Wants::More, who);
        }
        assert_eq!(turns, [500, 500]);
    }

    #[test]
    fn the_most_urgent_is_the_first_of_those_who_rested() {
        let mut line = Line::new();
        line.push(1, Wants::More, "spinner");
        assert_eq!(line.urgent(), None);
        line.push(3, Wants::Rested, "late");
        line.push(2, Wants::Rested, "early");
        assert_eq!(line.urgent(), Some(2));
        let paid = |who: &&str| if *who == "early" { 4 } else { 0 };
        assert_eq!(line.pop(paid), Some((1, "spinner")));
        assert_eq!(line.pop(paid), Some((3, "late")));
        assert_eq!(line.urgent(), Some(4));
        assert_eq!(line.pop(paid), Some((4, "early")));
        assert_eq!((line.urgent(), line.len()), (None, 0));
    }

    #[test]
    fn a_year_of_spinning_does_not_overflow() {
        let share = Share::of_request(None);
        share.pay(0, 365 * 24 * 3600 * 1_000_000_000);
        share.pay(0, TURN);
        assert!(share.paid() < u64::MAX);
        assert_eq!(Share::of_request(Some(u32::MAX)).weight, u64::from(u32::MAX) * 1024 / 1000);
    }
}
