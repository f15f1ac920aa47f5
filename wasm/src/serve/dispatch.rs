//! Which instance gets which request: the requests that wait, the instances that could take one, and the bounds.
//!
//! Invariant: a request waits only while an instance that was woken for it comes to fetch it, or while there are as
//! many instances as there may be. Requests are fetched, not assigned, so that none waits behind an instance that
//! was busier than it seemed while another has nothing to do.
//! It performs nothing: what is to be done comes back as an answer.

use std::collections::VecDeque;
use std::task::Waker;

/// Tells instances apart.
pub(super) type Id = usize;

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Instances; at least one.
    pub(super) instances: usize,
    /// Requests that wait.
    pub(super) queue: usize,
}

/// What waits: it may turn out that nobody waits for the answer any more.
pub(super) trait Waits {
    /// Whether the client has gone.
    fn is_over(&self) -> bool;
}

/// What is to be done for a request.
#[derive(Debug)]
pub(super) enum Step<J> {
    /// An instance is to be woken: it will fetch the request.
    Wake(Waker),
    /// An instance is to be made for it; it is counted already.
    Instantiate(Id, J),
    /// It waits.
    Wait,
    /// It is turned away.
    Refuse(J),
}

/// The instances of one container and the requests that wait for them.
pub(super) struct Dispatch<J> {
    bounds: Bounds,
    waiting: VecDeque<J>,
    /// Instances that have nothing to do, or could do more; the last to come is the first to go, so that the others
    /// may expire.
    free: Vec<(Id, Waker)>,
    /// Instances that were woken and have not come yet.
    woken: Vec<Id>,
    instances: usize,
    /// Whether there is memory for another instance. The first is made whatever there is.
    has_memory: bool,
    next_id: Id,
}

impl<J: Waits> Dispatch<J> {
    pub(super) fn new(bounds: Bounds) -> Self {
        let bounds = Bounds { instances: bounds.instances.max(1), ..bounds };
        let (waiting, free, woken) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { bounds, waiting, free, woken, instances: 0, has_memory: true, next_id: 0 }
    }

    /// Whether there is memory for another instance: to be told before anything is asked.
    pub(super) fn set_memory(&mut self, has_memory: bool) {
        self.has_memory = has_memory;
    }

    /// How many instances there are.
    pub(super) fn instances(&self) -> usize {
        self.instances
    }

    /// An instance has been made: what another takes is known now, and requests that waited for that may have one.
    pub(super) fn made(&mut self) -> Option<Step<J>> {
        self.hand_on()
    }

    fn may_instantiate(&self) -> bool {
        self.instances == 0 || (self.has_memory && self.instances < self.bounds.instances)
    }

    /// A request comes.
    pub(super) fn submit(&mut self, job: J) -> Step<J> {
        if let Some((id, waker)) = self.free.pop() {
            self.woken.push(id);
            self.waiting.push_back(job);
            return Step::Wake(waker);
        }
        if self.may_instantiate() {
            return self.instantiate(job);
        }
        // Those that an instance was woken for do not wait for long, and not for lack of instances.
        if self.unpromised() >= self.bounds.queue {
            self.waiting.retain(|job| !job.is_over());
        }
        if self.unpromised() >= self.bounds.queue {
            return Step::Refuse(job);
        }
        self.waiting.push_back(job);
        Step::Wait
    }

    /// An instance could take a request. If there is none, it is woken by `waker` when one has come.
    pub(super) fn fetch(&mut self, id: Id, waker: &Waker) -> Option<J> {
        self.woken.retain(|woken| *woken != id);
        let job = self.pop();
        match self.free.iter_mut().find(|(free, _)| *free == id) {
            Some(_) if job.is_some() => self.free.retain(|(free, _)| *free != id),
            Some((_, known)) => known.clone_from(waker),
            None if job.is_none() => self.free.push((id, waker.clone())),
            None => {}
        }
        job
    }

    /// An instance could take no request now. What it was woken for goes to another.
    pub(super) fn decline(&mut self, id: Id) -> Option<Step<J>> {
        self.free.retain(|(free, _)| *free != id);
        let before = self.woken.len();
        self.woken.retain(|woken| *woken != id);
        if before == self.woken.len() {
            return None;
        }
        self.hand_on()
    }

    /// An instance goes on with what it has: only what it was woken for already is still its own.
    pub(super) fn withdraw(&mut self, id: Id) {
        self.free.retain(|(free, _)| *free != id);
    }

    /// An instance goes on with what it has, and could begin with one more that waits already.
    pub(super) fn take(&mut self, id: Id) -> Option<J> {
        self.free.retain(|(free, _)| *free != id);
        self.woken.retain(|woken| *woken != id);
        self.pop()
    }

    /// An instance without work wants to end. It must not if it is given a request.
    pub(super) fn leave(&mut self, id: Id) -> Option<J> {
        let job = self.take(id);
        if job.is_none() {
            self.instances = self.instances.saturating_sub(1);
        }
        job
    }

    /// An instance has ended, with its work or without. Another may take its place.
    pub(super) fn ended(&mut self, id: Id) -> Option<Step<J>> {
        self.instances = self.instances.saturating_sub(1);
        self.free.retain(|(free, _)| *free != id);
        self.woken.retain(|woken| *woken != id);
        self.hand_on()
    }

    /// There was no room for an instance: its request waits for another instance, if there is any.
    pub(super) fn no_room(&mut self, job: J) -> Result<(), J> {
        self.instances = self.instances.saturating_sub(1);
        if self.instances == 0 || self.unpromised() >= self.bounds.queue {
            return Err(job);
        }
        self.waiting.push_front(job);
        Ok(())
    }

    /// Finds somebody for a request for which nobody was woken.
    fn hand_on(&mut self) -> Option<Step<J>> {
        if self.unpromised() == 0 {
            return None;
        }
        if let Some((id, waker)) = self.free.pop() {
            self.woken.push(id);
            return Some(Step::Wake(waker));
        }
        if !self.may_instantiate() {
            return None;
        }
        self.pop().map(|job| self.instantiate(job))
    }

    fn instantiate(&mut self, job: J) -> Step<J> {
        self.instances += 1;
        self.next_id = self.next_id.wrapping_add(1);
        Step::Instantiate(self.next_id, job)
    }

    /// The longest waiting request whose client is still there.
    fn pop(&mut self) -> Option<J> {
        while let Some(job) = self.waiting.pop_front() {
            if !job.is_over() {
                return Some(job);
            }
        }
        None
    }

    /// Requests for which nobody was woken.
    fn unpromised(&self) -> usize {
        self.waiting.len().saturating_sub(self.woken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Job(&'static str);

    impl Waits for Job {
        fn is_over(&self) -> bool {
            self.0 == "over"
        }
    }

    fn dispatch(instances: usize, queue: usize) -> Dispatch<Job> {
        Dispatch::new(Bounds { instances, queue })
    }

    fn made(step: Step<Job>) -> Id {
        match step {
            Step::Instantiate(id, _) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_instance_is_made_only_where_none_is_free() {
        let mut dispatch = dispatch(2, 0);
        let first = made(dispatch.submit(Job("a")));
        assert_eq!(dispatch.fetch(first, Waker::noop()), None);
        assert!(matches!(dispatch.submit(Job("b")), Step::Wake(_)));
        made(dispatch.submit(Job("c")));
        assert!(matches!(dispatch.submit(Job("d")), Step::Refuse(Job("d"))));
        assert_eq!(dispatch.fetch(first, Waker::noop()), Some(Job("b")));
    }

    #[test]
    fn beyond_the_instances_requests_wait_and_beyond_the_queue_they_are_refused() {
        let mut dispatch = dispatch(1, 2);
        let only = made(dispatch.submit(Job("a")));
        assert!(matches!(dispatch.submit(Job("over")), Step::Wait));
        assert!(matches!(dispatch.submit(Job("b")), Step::Wait));
        // One whose client has gone makes room.
        assert!(matches!(dispatch.submit(Job("c")), Step::Wait));
        assert!(matches!(dispatch.submit(Job("d")), Step::Refuse(_)));
        assert_eq!(dispatch.fetch(only, Waker::noop()), Some(Job("b")));
        assert_eq!(dispatch.fetch(only, Waker::noop()), Some(Job("c")));
        assert_eq!(dispatch.fetch(only, Waker::noop()), None);
    }

    #[test]
    fn a_request_never_waits_for_an_instance_that_declines_or_has_gone() {
        let mut dispatch = dispatch(2, 9);
        let first = made(dispatch.submit(Job("a")));
        assert_eq!(dispatch.fetch(first, Waker::noop()), None);
        assert!(matches!(dispatch.submit(Job("b")), Step::Wake(_)));
        let second = made(dispatch.decline(first).unwrap());
        assert!(dispatch.decline(first).is_none(), "it was told once");
        assert!(matches!(dispatch.submit(Job("c")), Step::Wait));
        let third = made(dispatch.ended(second).unwrap());
        assert!(third != first && third != second);
    }

    #[test]
    fn an_instance_that_was_just_given_a_request_does_not_leave() {
        let mut dispatch = dispatch(1, 9);
        let only = made(dispatch.submit(Job("a")));
        assert_eq!(dispatch.fetch(only, Waker::noop()), None);
        assert!(matches!(dispatch.submit(Job("b")), Step::Wake(_)));
        assert_eq!(dispatch.leave(only), Some(Job("b")));
        assert_eq!(dispatch.leave(only), None);
        made(dispatch.submit(Job("c")));
    }

    #[test]
    fn without_memory_requests_wait_for_the_instances_that_are_there() {
        let mut dispatch = dispatch(9, 9);
        dispatch.set_memory(false);
        let first = made(dispatch.submit(Job("a")));
        assert!(matches!(dispatch.submit(Job("b")), Step::Wait));
        assert!(matches!(dispatch.submit(Job("c")), Step::Wait));
        dispatch.set_memory(true);
        made(dispatch.made().unwrap());
        assert_eq!(dispatch.fetch(first, Waker::noop()), Some(Job("c")));
    }

    #[test]
    fn without_room_a_request_waits_for_those_that_are_there() {
        let mut dispatch = dispatch(2, 1);
        assert_eq!(dispatch.no_room(Job("a")), Err(Job("a")));
        let first = made(dispatch.submit(Job("b")));
        made(dispatch.submit(Job("c")));
        assert_eq!(dispatch.no_room(Job("c")), Ok(()));
        assert_eq!(dispatch.fetch(first, Waker::noop()), Some(Job("c")));
    }
}
