//! The API server as its clients see it: over the loopback client, and once over a socket.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests share may fail as they may")]

#[path = "face/admission.rs"]
mod admission;
#[path = "face/apply.rs"]
mod apply;
#[path = "face/compatibility.rs"]
mod compatibility;
#[path = "face/conversations.rs"]
mod conversations;
#[path = "face/deletes.rs"]
mod deletes;
#[path = "face/discovery.rs"]
mod discovery;
#[path = "face/identity.rs"]
mod identity;
#[path = "face/kinds.rs"]
mod kinds;
#[path = "face/lists.rs"]
mod lists;
#[path = "face/metrics.rs"]
mod metrics;
#[path = "face/objects.rs"]
mod objects;
#[path = "face/openapi.rs"]
mod openapi;
#[path = "face/patches.rs"]
mod patches;
#[path = "face/refusals.rs"]
mod refusals;
#[path = "face/server.rs"]
mod server;
#[path = "face/slow.rs"]
mod slow;
#[path = "face/subresources.rs"]
mod subresources;
#[path = "face/tls.rs"]
mod tls;
#[path = "face/usage.rs"]
mod usage;
#[path = "face/watches.rs"]
mod watches;
#[path = "face/wire.rs"]
mod wire;
