//! A pod network of one pod, on loopback: pod ports are mapped to whatever is free on this machine.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use coracle_api::meet::{Attachment, BoundPort, ConnectError, Connection, ConnectionHandler, Guise, Protocol, Reached};

pub(super) const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 7));
pub(super) const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10)), 80);
pub(super) const FORBIDDEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 80);

type Table = Arc<Mutex<HashMap<u16, SocketAddr>>>;

#[derive(Default)]
pub(super) struct Loopback {
    ports: Table,
    /// Where the Service's endpoint is.
    pub(super) endpoint: Mutex<Option<SocketAddr>>,
    handlers: Mutex<HashMap<u16, Weak<dyn ConnectionHandler>>>,
    /// Whether handlers are told of, so that no connection is needed.
    pub(super) is_near: AtomicBool,
}

impl Loopback {
    /// Where the pod's port really is, once it is bound.
    pub(super) fn real(&self, port: u16) -> Option<SocketAddr> {
        self.ports.lock().unwrap().get(&port).copied()
    }

    fn take(&self, port: u16, real: SocketAddr) -> io::Result<u16> {
        let mut ports = self.ports.lock().unwrap();
        let port = if port == 0 { (40_000..).find(|port| !ports.contains_key(port)).unwrap() } else { port };
        if ports.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        ports.insert(port, real);
        Ok(port)
    }
}

struct Bound {
    table: Table,
    port: u16,
    real: SocketAddr,
    ended: Option<Arc<AtomicBool>>,
}

impl BoundPort for Bound {
    fn real(&self) -> SocketAddr {
        self.real
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.table.lock().unwrap().remove(&self.port);
        if let Some(ended) = &self.ended {
            ended.store(true, SeqCst);
            let _ = TcpStream::connect(self.real);
        }
    }
}

#[async_trait]
impl Attachment for Loopback {
    fn ip(&self) -> IpAddr {
        POD
    }

    async fn serve(&self, port: u16, handler: Arc<dyn ConnectionHandler>) -> io::Result<Box<dyn BoundPort>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let real = listener.local_addr()?;
        let port = self.take(port, real)?;
        self.handlers.lock().unwrap().insert(port, Arc::downgrade(&handler));
        let ended = Arc::new(AtomicBool::new(false));
        let theirs = ended.clone();
        std::thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                if theirs.load(SeqCst) {
                    return;
                }
                stream.set_nonblocking(true).unwrap();
                let _ = handler.take(Connection { stream, peer, local: SocketAddr::new(POD, port), held: None });
            }
        });
        Ok(Box::new(Bound { table: self.ports.clone(), port, real, ended: Some(ended) }))
    }

    fn listen(&self, protocol: Protocol, at: SocketAddr) -> io::Result<Box<dyn BoundPort>> {
        if !(at.ip().is_unspecified() || at.ip().is_loopback() || at.ip() == POD) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let real = match protocol {
            Protocol::Tcp => TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            Protocol::Udp => UdpSocket::bind("127.0.0.1:0")?.local_addr()?,
        };
        let port = self.take(at.port(), real)?;
        Ok(Box::new(Bound { table: self.ports.clone(), port, real, ended: None }))
    }

    fn reach(&self, _: Protocol, to: SocketAddr) -> Result<Reached, ConnectError> {
        let real = match to {
            FORBIDDEN => return Err(ConnectError::Denied),
            SERVICE => self.endpoint.lock().unwrap().ok_or(ConnectError::Refused),
            to if to.ip() == POD || to.ip().is_loopback() => self.real(to.port()).ok_or(ConnectError::Refused),
            _ => Err(ConnectError::Refused),
        }?;
        let port = self.ports.lock().unwrap().iter().find(|(_, held)| **held == real).map(|(port, _)| *port);
        let handlers = self.handlers.lock().unwrap();
        let handler = port.and_then(|port| handlers.get(&port).and_then(Weak::upgrade));
        Ok(Reached { real, handler: handler.filter(|_| self.is_near.load(SeqCst)) })
    }

    fn admits(&self, _: Protocol, _: u16, _: SocketAddr) -> bool {
        true
    }

    fn still_leads(&self, protocol: Protocol, to: SocketAddr, real: SocketAddr) -> bool {
        self.connect(protocol, to) == Ok(real)
    }

    fn guise(&self, _: Protocol, _: SocketAddr, _: SocketAddr) -> Option<Box<dyn Guise>> {
        None
    }

    fn shown(&self, _: Protocol, real: SocketAddr) -> SocketAddr {
        let ports = self.ports.lock().unwrap();
        let port = ports.iter().find(|(_, held)| **held == real).map(|(port, _)| *port);
        port.map_or(real, |port| SocketAddr::new(POD, port))
    }
}
