//! Whose turn it is: seats, shared out among users. Pure.
//!
//! A free seat goes to the user who holds the fewest and has waited longest, whoever asked more often. No user holds
//! all seats, so that there is one for the next to come whatever the others' requests take.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many parts of all seats one user may hold.
const SHARE_MAX: (usize, usize) = (3, 4);

/// The seats and who waits for them; `W` is how one who waits is called.
#[derive(Debug)]
pub(super) struct Turns<W> {
    seats: usize,
    taken: usize,
    /// So many of a user's requests may be under way or wait.
    requests_max: usize,
    /// Users who hold a seat or wait for one.
    users: HashMap<Arc<str>, User<W>>,
    /// Counts the seats given, to tell who was given one last.
    given: u64,
}

#[derive(Debug)]
struct User<W> {
    seats: usize,
    waiting: VecDeque<W>,
    last_given: u64,
}

/// What becomes of a request that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It has a seat.
    Seated,
    /// It waits.
    Waits,
    /// Too many of its user's are there.
    TooMany,
}

impl<W> Turns<W> {
    /// With so many seats, all free.
    pub(super) fn new(seats: usize, requests_max: usize) -> Self {
        Self { seats, taken: 0, requests_max, users: HashMap::new(), given: 0 }
    }

    /// The most seats of one user.
    fn seats_max(&self) -> usize {
        (self.seats * SHARE_MAX.0 / SHARE_MAX.1).max(1)
    }

    /// A request of a user arrives. `gone` tells who waits no more.
    pub(super) fn arrive(&mut self, user: &Arc<str>, waiter: W, gone: impl Fn(&W) -> bool) -> Arrival {
        let (free, most) = (self.seats - self.taken, self.seats_max());
        let of_user = self.users.entry(Arc::clone(user));
        let of_user = of_user.or_insert_with(|| User { seats: 0, waiting: VecDeque::new(), last_given: 0 });
        if of_user.seats + of_user.waiting.len() >= self.requests_max {
            of_user.waiting.retain(|waiter| !gone(waiter));
        }
        if of_user.seats + of_user.waiting.len() >= self.requests_max {
            return Arrival::TooMany;
        }
        if free > 0 && of_user.seats < most && of_user.waiting.is_empty() {
            self.given += 1;
            of_user.seats += 1;
            of_user.last_given = self.given;
            self.taken += 1;
            return Arrival::Seated;
        }
        of_user.waiting.push_back(waiter);
        Arrival::Waits
    }

    /// A user gives a seat back. Whoever is next gets it: their name, and how they are called.
    pub(super) fn leave(&mut self, user: &Arc<str>) -> Vec<(Arc<str>, W)> {
        if let Some(of_user) = self.users.get_mut(user) {
            of_user.seats = of_user.seats.saturating_sub(1);
            self.taken = self.taken.saturating_sub(1);
        }
        let mut called = Vec::new();
        while self.taken < self.seats
            && let Some(next) = self.next()
        {
            called.push(next);
        }
        if self.users.get(user).is_some_and(|of_user| of_user.seats == 0 && of_user.waiting.is_empty()) {
            self.users.remove(user);
        }
        called
    }

    fn next(&mut self) -> Option<(Arc<str>, W)> {
        let most = self.seats_max();
        let waits = |user: &User<W>| !user.waiting.is_empty() && user.seats < most;
        let poorest =
            self.users.iter_mut().filter(|(_, user)| waits(user)).min_by_key(|(_, u)| (u.seats, u.last_given));
        let (name, user) = poorest?;
        let waiter = user.waiting.pop_front()?;
        self.given += 1;
        user.seats += 1;
        user.last_given = self.given;
        self.taken += 1;
        Some((Arc::clone(name), waiter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    fn arrive(turns: &mut Turns<u32>, user: &str, number: u32) -> Arrival {
        turns.arrive(&name(user), number, |_| false)
    }

    fn called(turns: &mut Turns<u32>, leaves: &str) -> Vec<String> {
        turns.leave(&name(leaves)).into_iter().map(|(user, number)| format!("{user}{number}")).collect()
    }

    #[test]
    fn a_noisy_user_leaves_a_seat_for_the_next_to_come() {
        let mut turns = Turns::new(4, 100);
        let of_noisy: Vec<Arrival> = (0..5).map(|n| arrive(&mut turns, "noisy", n)).collect();
        assert_eq!(of_noisy.iter().filter(|a| **a == Arrival::Seated).count(), 3);
        assert_eq!(arrive(&mut turns, "quiet", 0), Arrival::Seated);
    }

    #[test]
    fn seats_go_to_who_holds_fewest_then_to_who_waited_longest() {
        let mut turns = Turns::new(4, 100);
        for n in 0..6 {
            arrive(&mut turns, "a", n);
        }
        assert_eq!(arrive(&mut turns, "b", 0), Arrival::Seated);
        assert_eq!(arrive(&mut turns, "b", 1), Arrival::Waits);
        assert_eq!(arrive(&mut turns, "c", 0), Arrival::Waits);
        assert_eq!(called(&mut turns, "a"), ["c0"], "c holds none");
        assert_eq!(called(&mut turns, "a"), ["a3"], "a and b hold one each, and a was given one before b");
        assert_eq!(called(&mut turns, "b"), ["b1"]);
        assert_eq!(called(&mut turns, "c"), ["a4"]);
        assert_eq!(called(&mut turns, "a"), ["a5"]);
    }

    #[test]
    fn a_user_with_too_many_requests_is_told_so_and_others_are_not() {
        let mut turns = Turns::new(1, 3);
        let all: Vec<Arrival> = (0..4).map(|n| arrive(&mut turns, "a", n)).collect();
        assert_eq!(all, [Arrival::Seated, Arrival::Waits, Arrival::Waits, Arrival::TooMany]);
        assert_eq!(arrive(&mut turns, "b", 0), Arrival::Waits);
        assert_eq!(turns.arrive(&name("a"), 9, |_| true), Arrival::Waits, "those who waited have gone");
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let mut turns = Turns::new(2, 3);
        arrive(&mut turns, "a", 0);
        assert!(called(&mut turns, "a").is_empty());
        assert!(turns.users.is_empty() && turns.taken == 0);
    }
}
