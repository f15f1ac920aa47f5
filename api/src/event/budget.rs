//! How much a component may say about one object: a bucket of tokens that fills slowly.

use jiff::{SignedDuration, Timestamp};

/// How many events about one object may follow one another: client-go's figure, enough for a pod's whole start.
pub const EVENTS_PER_OBJECT_BURST: u32 = 25;

/// How long until one more may be written: client-go's figure, so that a crash loop costs next to nothing.
pub const EVENT_PER_OBJECT_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// The tokens of one object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    tokens: u32,
    /// Since when a new token has been on its way.
    since: Timestamp,
}

impl Budget {
    /// A full bucket.
    pub(super) const fn full(now: Timestamp) -> Self {
        Self { tokens: EVENTS_PER_OBJECT_BURST, since: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        while self.tokens < EVENTS_PER_OBJECT_BURST && now.duration_since(self.since) >= EVENT_PER_OBJECT_EVERY {
            self.tokens += 1;
            self.since += EVENT_PER_OBJECT_EVERY;
        }
        if self.tokens == EVENTS_PER_OBJECT_BURST {
            self.since = now;
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }
}
