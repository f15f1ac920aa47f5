//! Turns: which guests run when more want to than there are cores.
//!
//! There are as many slots as cores; a guest holds one while it runs. While slots are free, taking one costs a few
//! nanoseconds and nobody waits. When there are none, guests wait in a [`line`] by weight, and whoever gives a slot
//! up hands it to the next. A guest that has rested and is owed a turn has the running ones yield at once, so that a
//! request is answered promptly beside any number of spinners.
//!
//! Invariant: while somebody waits, no slot is free. A turn that does not end when it should, because its guest is in
//! a long call of the host or of the machine, lends its slot to the next until it ends.
//!
//! There are as many threads for guests as slots. A guest whose last turn was longer than a request takes its next one
//! [aside](super::aside), so that those threads stay free for connections, timers and other guests. More of them from
//! the start would be woken for each request, and cost a quarter of all requests where there is one core. The first
//! long turn is taken where it comes: if it is one long call of the host, that thread waits for the call's end.

mod line;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

use line::Line;
pub(super) use line::{Share, Wants};

/// Of how many slots one may be lent at the same time; one of few may. Large machines meet more long calls.
const SLOTS_PER_LOAN: usize = 4;

/// How long a guest may run while others wait: short beside a person's patience, long beside a switch (2 µs).
const SLICE: Duration = Duration::from_millis(10);

/// How long a turn lasts before another may cut it short: long beside a switch, so that requests which cut in on one
/// another do not end in switching only.
const TURN_MIN: Duration = Duration::from_micros(200);

/// After so many ticks of 2 ms in which its guest did not look, a turn is held to be stuck in a long call.
const OVERDUE_TICKS: u64 = 2;

/// The slots of a host of guests.
pub(super) struct Turns {
    free: AtomicUsize,
    /// How many are in the line, to be seen without its lock.
    waiting: AtomicUsize,
    line: Mutex<Line<Arc<Ticket>>>,
    /// Virtual time: the latest start of a turn.
    now: AtomicU64,
    /// The earliest start of somebody in the line who had rested; [`u64::MAX`] if there is none.
    urgent: AtomicU64,
    /// For each turn the tick in which its guest last looked whether to yield; see [`NONE`] and [`LENT`].
    looks: Box<[AtomicU64]>,
    lent: AtomicUsize,
    lent_max: usize,
    ticks: AtomicU64,
}

/// There is no such turn.
const NONE: u64 = 0;

/// The turn has lent its slot.
const LENT: u64 = u64::MAX;

/// One that waits in the line.
pub(super) struct Ticket {
    share: Arc<Share>,
    waker: AtomicWaker,
    granted: AtomicBool,
    start: AtomicU64,
    abandoned: AtomicBool,
}

impl Ticket {
    fn new(share: &Arc<Share>, waker: &Waker) -> Arc<Self> {
        let ticket = Self {
            share: share.clone(),
            waker: AtomicWaker::new(),
            granted: AtomicBool::new(false),
            start: AtomicU64::new(0),
            abandoned: AtomicBool::new(false),
        };
        ticket.waker.register(waker);
        Arc::new(ticket)
    }

    fn grant(&self, start: u64) {
        self.start.store(start, Relaxed);
        self.granted.store(true, SeqCst);
    }
}

/// A guest's way to a slot: nothing, or a place in the line.
#[derive(Default)]
pub(super) struct Claim(Option<Arc<Ticket>>);

impl Claim {
    /// Whether it has a place in the line, or was granted a slot there.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.is_some()
    }
}

/// A guest runs on this thread as long as this lives.
pub(super) struct Slot<'a> {
    turns: &'a Turns,
    look: Option<&'a AtomicU64>,
    /// When it starts in virtual time.
    start: u64,
}

/// What the guest on a thread has to keep to.
struct Terms {
    began: Instant,
    ends: Instant,
    /// When it began in virtual time.
    start: u64,
    share: Arc<Share>,
    /// It was told to yield, and wants more.
    cut: bool,
}

thread_local! {
    static TERMS: RefCell<Option<Terms>> = const { RefCell::new(None) };
    /// Where the turn on this thread, or the last, is among the looks.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

/// Whether the guest whose turn it is on this thread was told to yield, and has more to do.
pub(super) fn is_cut() -> bool {
    TERMS.with_borrow(|terms| terms.as_ref().is_some_and(|terms| terms.cut))
}

impl Turns {
    /// So many slots, all free.
    pub(super) fn new(slots: usize) -> Self {
        let slots = slots.max(1);
        let lent_max = (slots / SLOTS_PER_LOAN).max(1);
        Self {
            free: AtomicUsize::new(slots),
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line::new()),
            now: AtomicU64::new(0),
            urgent: AtomicU64::new(u64::MAX),
            looks: (0..slots + lent_max).map(|_| AtomicU64::new(NONE)).collect(),
            lent: AtomicUsize::new(0),
            lent_max,
            ticks: AtomicU64::new(1),
        }
    }

    /// How many turns there may be at the same time, with those that have lent their slots.
    pub(super) fn at_once(&self) -> usize {
        self.looks.len()
    }

    /// A slot for a guest of the container with this share, now or when it is its turn; then `waker` is woken.
    /// Says when the turn starts in virtual time; it is to [begin](Turns::begin) at once.
    /// `hurry` is called when the running guests should look whether they are to yield.
    pub(super) fn grant(
        &self,
        claim: &mut Claim,
        share: &Arc<Share>,
        wants: Wants,
        waker: &Waker,
        hurry: impl FnOnce(),
    ) -> Poll<u64> {
        if let Some(ticket) = &claim.0 {
            ticket.waker.register(waker);
            if !ticket.granted.load(SeqCst) {
                return Poll::Pending;
            }
            let start = ticket.start.load(Relaxed);
            claim.0 = None;
            return Poll::Ready(start);
        }
        let start = share.paid().max(self.now.load(Relaxed));
        if self.take_free() {
            return Poll::Ready(start);
        }
        let ticket = Ticket::new(share, waker);
        if !self.wait(start, wants, ticket.clone()) {
            return Poll::Ready(start);
        }
        claim.0 = Some(ticket);
        if wants == Wants::Rested {
            hurry();
        }
        Poll::Pending
    }

    /// Gives up a claim: its place in the line, or the slot that it was granted and did not take.
    pub(super) fn give_up(&self, claim: &mut Claim) {
        let Some(ticket) = claim.0.take() else { return };
        let granted = {
            let _line = self.line();
            ticket.abandoned.store(true, SeqCst);
            ticket.granted.load(SeqCst)
        };
        if granted {
            self.release();
        }
    }

    /// A tick has passed: turns that are overdue lend their slots.
    pub(super) fn tick(&self) {
        let tick = self.ticks.fetch_add(1, Relaxed) + 1;
        for look in &self.looks {
            let began = look.load(Relaxed);
            let overdue = began != NONE && began != LENT && tick.saturating_sub(began) > OVERDUE_TICKS;
            if overdue && self.waiting.load(SeqCst) > 0 && self.lent.load(Relaxed) < self.lent_max {
                let lent = look.compare_exchange(began, LENT, SeqCst, SeqCst);
                if lent.is_ok() {
                    self.lent.fetch_add(1, Relaxed);
                    self.release();
                }
            }
        }
    }

    /// Whether the guest on this thread is to yield: its slice is over, or somebody who had rested comes before it.
    pub(super) fn must_yield(&self) -> bool {
        let lent = self.looks.get(PLACE.get()).is_some_and(|look| {
            let tick = self.ticks.load(Relaxed);
            look.fetch_update(SeqCst, SeqCst, |seen| (seen != LENT).then_some(tick)).is_err()
        });
        TERMS.with_borrow_mut(|terms| {
            let Some(terms) = terms else { return true };
            let now = Instant::now();
            let ran = now.saturating_duration_since(terms.began);
            let is_cut = || {
                let position = terms.share.after(terms.start, u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX));
                ran >= TURN_MIN && self.urgent.load(Relaxed) < position
            };
            terms.cut = lent || now >= terms.ends || is_cut();
            terms.cut
        })
    }

    /// The turn of a guest that was granted a slot, on the thread that runs it.
    pub(super) fn begin(&self, start: u64) -> Slot<'_> {
        if start > self.now.load(Relaxed) {
            self.now.fetch_max(start, Relaxed);
        }
        Slot { turns: self, look: self.look(), start }
    }

    /// A place for the looks of a turn on this thread: where the last was, if that is free.
    fn look(&self) -> Option<&AtomicU64> {
        let (last, tick) = (PLACE.get(), self.ticks.load(Relaxed));
        let places = (last..self.looks.len()).chain(0..last);
        places.filter_map(|place| Some((place, self.looks.get(place)?))).find_map(|(place, look)| {
            look.compare_exchange(NONE, tick, SeqCst, Relaxed).ok()?;
            PLACE.set(place);
            Some(look)
        })
    }

    fn take_free(&self) -> bool {
        self.free.fetch_update(SeqCst, SeqCst, |free| free.checked_sub(1)).is_ok()
    }

    /// Joins the line, unless a slot has become free.
    fn wait(&self, start: u64, wants: Wants, ticket: Arc<Ticket>) -> bool {
        let mut line = self.line();
        // Announced before the last look: whoever frees a slot after it sees that somebody waits.
        self.waiting.fetch_add(1, SeqCst);
        if self.take_free() {
            self.waiting.store(line.len(), SeqCst);
            return false;
        }
        line.push(start, wants, ticket);
        self.show(&line);
        true
    }

    /// Hands a slot to the next in the line, or frees it.
    fn release(&self) {
        if self.waiting.load(SeqCst) == 0 {
            self.free.fetch_add(1, SeqCst);
            if self.waiting.load(SeqCst) == 0 || !self.take_free() {
                return;
            }
        }
        let mut line = self.line();
        while let Some((start, ticket)) = line.pop(|ticket| ticket.share.paid()) {
            if ticket.abandoned.load(SeqCst) {
                continue;
            }
            self.show(&line);
            ticket.grant(start);
            drop(line);
            ticket.waker.wake();
            return;
        }
        self.show(&line);
        self.free.fetch_add(1, SeqCst);
    }

    /// Shows what the line is, to be seen without its lock.
    fn show(&self, line: &Line<Arc<Ticket>>) {
        self.waiting.store(line.len(), SeqCst);
        self.urgent.store(line.urgent().unwrap_or(u64::MAX), Relaxed);
    }

    fn line(&self) -> MutexGuard<'_, Line<Arc<Ticket>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot<'_> {
    /// The guest begins now and ends with its slice, or earlier if it has leave for less.
    pub(super) fn run(&self, share: &Arc<Share>, began: Instant, leave: Option<Duration>) {
        let ends = began + leave.map_or(SLICE, |leave| leave.min(SLICE));
        TERMS.set(Some(Terms { began, ends, start: self.start, share: share.clone(), cut: false }));
    }

    /// The guest has run for so many nanoseconds: its container pays. Says why it would want another turn.
    pub(super) fn pay(&self, share: &Share, nanos: u64) -> Wants {
        share.pay(self.start, nanos);
        if is_cut() { Wants::More } else { Wants::Rested }
    }

    /// Ends the turn of a guest that was told to yield: it stands in the line before its slot is handed on. Else the
    /// slot would always go to another, and of two guests each had half, whatever their weights.
    pub(super) fn rejoin(self, claim: &mut Claim, share: &Arc<Share>, waker: &Waker) {
        if self.turns.waiting.load(SeqCst) == 0 {
            return;
        }
        let (start, ticket) = (share.paid(), Ticket::new(share, waker));
        if !self.turns.wait(start, Wants::More, ticket.clone()) {
            ticket.grant(start);
        }
        claim.0 = Some(ticket);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        // It goes with its share.
        drop(TERMS.take());
        if self.look.is_some_and(|look| look.swap(NONE, SeqCst) == LENT) {
            // Somebody else has the slot already.
            self.turns.lent.fetch_sub(1, Relaxed);
        } else {
            self.turns.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim<'a>(turns: &'a Turns, claim: &mut Claim, share: &Arc<Share>) -> Poll<Slot<'a>> {
        turns.grant(claim, share, Wants::More, Waker::noop(), || {}).map(|start| turns.begin(start))
    }

    fn share() -> Arc<Share> {
        Arc::new(Share::of_request(None))
    }

    #[test]
    fn a_slot_goes_from_hand_to_hand_and_is_free_again_at_the_end() {
        let turns = Turns::new(1);
        let [mut first, mut second, mut third] = [Claim::default(), Claim::default(), Claim::default()];
        let slot = claim(&turns, &mut first, &share());
        assert!(slot.is_ready());
        assert!(claim(&turns, &mut second, &share()).is_pending());
        assert!(claim(&turns, &mut third, &share()).is_pending());
        drop(slot);
        assert!(claim(&turns, &mut third, &share()).is_pending());
        assert!(claim(&turns, &mut second, &share()).is_ready());
        assert!(claim(&turns, &mut third, &share()).is_ready());
        assert_eq!((turns.free.load(SeqCst), turns.waiting.load(SeqCst)), (1, 0));
    }

    #[test]
    fn a_claim_that_is_given_up_keeps_nothing() {
        let turns = Turns::new(1);
        let [mut first, mut second, mut third] = [Claim::default(), Claim::default(), Claim::default()];
        let slot = claim(&turns, &mut first, &share());
        assert!(claim(&turns, &mut second, &share()).is_pending());
        assert!(claim(&turns, &mut third, &share()).is_pending());
        turns.give_up(&mut second);
        drop(slot);
        turns.give_up(&mut third);
        assert_eq!((turns.free.load(SeqCst), turns.waiting.load(SeqCst)), (1, 0));
    }

    #[test]
    fn who_has_rested_hurries_the_others_and_who_wants_more_waits() {
        let turns = Turns::new(1);
        let (spinner, other, rested) = (share(), share(), share());
        let mut hurried = 0;
        let Poll::Ready(slot) = claim(&turns, &mut Claim::default(), &spinner) else { panic!("no slot") };
        let began = Instant::now();
        slot.run(&spinner, began.checked_sub(TURN_MIN * 2).unwrap(), None);
        let mut claims = [Claim::default(), Claim::default()];
        assert!(turns.grant(&mut claims[0], &other, Wants::More, Waker::noop(), || hurried += 1).is_pending());
        assert_eq!((hurried, turns.must_yield()), (0, false));
        assert!(turns.grant(&mut claims[1], &rested, Wants::Rested, Waker::noop(), || hurried += 1).is_pending());
        assert_eq!((hurried, turns.must_yield()), (1, true));
        assert_eq!(slot.pay(&spinner, 400_000), Wants::More);
        other.pay(0, 1000);
        drop(slot);
        assert!(claim(&turns, &mut claims[0], &other).is_pending());
        assert!(claim(&turns, &mut claims[1], &rested).is_ready());
    }

    #[test]
    fn who_is_cut_short_may_have_the_next_turn_too() {
        let turns = Turns::new(1);
        let [heavy, light] = [1000, 250].map(|request| Arc::new(Share::of_request(Some(request))));
        let [mut first, mut second] = [Claim::default(), Claim::default()];
        let Poll::Ready(slot) = claim(&turns, &mut first, &heavy) else { panic!("no slot") };
        assert!(claim(&turns, &mut second, &light).is_pending());
        light.pay(0, 10_000_000);
        slot.pay(&heavy, 10_000_000);
        slot.rejoin(&mut first, &heavy, Waker::noop());
        assert!(claim(&turns, &mut second, &light).is_pending());
        let Poll::Ready(slot) = claim(&turns, &mut first, &heavy) else { panic!("no second turn") };
        slot.pay(&heavy, 40_000_000);
        slot.rejoin(&mut first, &heavy, Waker::noop());
        assert!(claim(&turns, &mut first, &heavy).is_pending());
        assert!(claim(&turns, &mut second, &light).is_ready());
        turns.give_up(&mut first);
        assert_eq!((turns.free.load(SeqCst), turns.waiting.load(SeqCst)), (1, 0));
    }

    #[test]
    fn a_turn_that_does_not_end_lends_its_slot() {
        let turns = Turns::new(1);
        let stuck = claim(&turns, &mut Claim::default(), &share());
        let mut waits = Claim::default();
        assert!(claim(&turns, &mut waits, &share()).is_pending());
        for _ in 0..=OVERDUE_TICKS {
            turns.tick();
        }
        let mut next = Claim::default();
        {
            let lent = claim(&turns, &mut waits, &share());
            assert!(lent.is_ready());
            assert!(claim(&turns, &mut next, &share()).is_pending());
            drop(stuck);
            assert!(claim(&turns, &mut next, &share()).is_pending());
            drop(lent);
        }
        assert!(claim(&turns, &mut next, &share()).is_ready());
        assert_eq!((turns.free.load(SeqCst), turns.lent.load(SeqCst)), (1, 0));
    }
}
