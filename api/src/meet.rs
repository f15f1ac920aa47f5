//! The few traits by which two components meet on the data path, wired together by `cli`.
//!
//! A component that needs something of another is given one of these; it never imports the other.

mod http;
mod names;
mod network;

pub use http::{
    Body, BodyError, Figures, HttpRequest, HttpResponse, HttpServer, HttpService, Nodes, Unanswered, body_of,
};
pub use names::{NDOTS, NameServer, PodNames, Resolver};
pub use network::{
    Address, Attachment, BoundPort, ConnectError, Connection, ConnectionHandler, Guise, InvalidSlot, NamedPort,
    PodNetwork, PodSlot, Protocol, Reached,
};
