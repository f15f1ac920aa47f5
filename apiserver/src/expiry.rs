//! Events are forgotten after an hour, as upstream: nobody deletes them, and without this they would fill the memory.
//!
//! Nothing else is ever deleted by the server of its own accord.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::machine::Machine;
use crate::store::{Action, Change, CommitError, Durability, Expect, Prefix};

/// How long an event is kept after it was last seen.
const EVENT_LASTS: SignedDuration = SignedDuration::from_hours(1);

/// How often the old ones are looked for: all events are read for it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Forgets old events until the server stops.
pub(crate) async fn forget_events(machine: Arc<Machine>) {
    loop {
        tokio::select! {
            () = machine.stopping.cancelled() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => sweep(&machine, clock::now()).await,
        }
    }
}

async fn sweep(machine: &Machine, now: Timestamp) {
    for entry in machine.store.list(&Prefix::resource("", "events")).entries {
        if !is_old(&entry.value(), now) {
            continue;
        }
        let change = Change {
            key: entry.key().clone(),
            expect: Expect::At(entry.revision()),
            action: Action::Delete,
            durability: Durability::Volatile,
        };
        match machine.store.commit(vec![change]).await {
            // It was seen again, or somebody was faster.
            Ok(_) | Err(CommitError::Mismatch { .. }) => {}
            Err(CommitError::Stopped) => return,
            Err(error @ CommitError::Disk(_)) => return tracing::warn!(%error, "old events cannot be forgotten"),
        }
    }
}

/// Whether an event was last seen too long ago.
fn is_old(event: &Value, now: Timestamp) -> bool {
    let at = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).and_then(|t| t.parse::<Timestamp>().ok());
    let times = ["/metadata/creationTimestamp", "/lastTimestamp", "/eventTime", "/series/lastObservedTime"];
    let seen = times.iter().filter_map(|pointer| at(pointer)).max();
    seen.is_some_and(|seen| now.duration_since(seen) > EVENT_LASTS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_old_an_hour_after_it_was_last_seen() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let event =
            |created: &str, last: &str| json!({"metadata": {"creationTimestamp": created}, "lastTimestamp": last});
        assert!(is_old(&event("2026-01-01T10:00:00Z", "2026-01-01T10:30:00Z"), now));
        assert!(!is_old(&event("2026-01-01T10:00:00Z", "2026-01-01T11:30:00Z"), now));
        assert!(!is_old(&json!({"metadata": {}}), now));
    }
}
