//! The doors by which pods reach Services that may sleep.
//!
//! A pod's connection to any other Service goes straight to an endpoint. Here there may be none yet, and who uses the
//! Service must be known: so it goes to a listener of ours, which holds it and hands it over.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use coracle_api::meet::Protocol;
use tokio::runtime::Handle;

use super::sleeper::Port;
use crate::accept::{BACKLOG, Door};
use crate::bind::bind_at;
use crate::delivery::Delivery;
use crate::relay::Relay;
use crate::routes::{Front, Route};
use crate::table::Table;

/// How many doors there are: each takes a file. Beyond it, pods find a sleeping Service without endpoints.
const DOORS_MAX: usize = 1024;

/// What is open.
pub(crate) struct Doors {
    table: Arc<Table>,
    delivery: Arc<Delivery>,
    open: HashMap<Port, Opened>,
}

struct Opened {
    at: SocketAddr,
    front: Front,
    _door: Kind,
}

enum Kind {
    Tcp { _door: Door },
    Udp { _relay: Relay },
}

impl Doors {
    pub(crate) fn new(table: Arc<Table>, delivery: Arc<Delivery>) -> Self {
        Self { table, delivery, open: HashMap::new() }
    }

    /// Opens doors for these ports, by their cluster addresses, and closes the others.
    pub(crate) fn follow<'a>(&mut self, ports: impl Iterator<Item = (Front, &'a Arc<Route>)>) {
        let mut before = std::mem::take(&mut self.open);
        let mut has_changed = false;
        for (front, route) in ports {
            let port = (route.service.clone(), front.protocol(), route.port);
            if self.open.contains_key(&port) || self.open.len() >= DOORS_MAX {
                continue;
            }
            let opened = match before.remove(&port).filter(|opened| opened.front == front) {
                Some(opened) => opened,
                None => match self.open(front) {
                    Ok(opened) => {
                        has_changed = true;
                        opened
                    }
                    Err(error) => {
                        tracing::warn!(%error, service = %route.service, "pods cannot wake a Service");
                        continue;
                    }
                },
            };
            self.open.insert(port, opened);
        }
        if has_changed || !before.is_empty() {
            let doors = self.open.iter().map(|(port, opened)| (port.clone(), opened.at)).collect();
            self.table.sleepers().set_doors(doors);
        }
    }

    fn open(&self, front: Front) -> io::Result<Opened> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        match front.protocol() {
            Protocol::Tcp => {
                let listener = bind_at(any)?.listen(BACKLOG)?;
                let at = listener.local_addr()?;
                let delivery = Arc::clone(&self.delivery);
                let take = move |client, peer| delivery.take_of_pod(front, client, peer);
                let door = Door::open(listener, &Handle::current(), take);
                Ok(Opened { at, front, _door: Kind::Tcp { _door: door } })
            }
            Protocol::Udp => {
                let relay = Relay::open(any, front, Arc::clone(&self.table))?;
                Ok(Opened { at: relay.at(), front, _door: Kind::Udp { _relay: relay } })
            }
        }
    }
}
