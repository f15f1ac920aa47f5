//! `wasi:sockets/ip-name-lookup` 0.2: names are the cluster's, answered in process.
//!
//! The lookup runs on the guests' threads while the guest waits or does something else; it ends with its stream.

use std::future::Future;
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};
use std::vec;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_io::poll::subscribe;

use crate::state::State;

/// The interface, at the version that wasmtime gives; other 0.2 versions are matched to it.
const INTERFACE: &str = "wasi:sockets/ip-name-lookup@0.2.12";

/// The longest name that DNS knows.
pub(super) const NAME_BYTES_MAX: usize = 253;

/// A lookup that is under way, or what it found.
enum Lookup {
    Running(AbortOnDropJoinHandle<Vec<IpAddr>>),
    Found { addresses: vec::IntoIter<IpAddr>, any: bool },
}

impl Lookup {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Self::Running(running) = self {
            let Poll::Ready(addresses) = std::pin::Pin::new(running).poll(context) else { return Poll::Pending };
            *self = Self::Found { any: !addresses.is_empty(), addresses: addresses.into_iter() };
        }
        Poll::Ready(())
    }

    fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        // Whoever is told "would block" subscribes, and is woken there.
        let _ = self.poll(&mut Context::from_waker(Waker::noop()));
        match self {
            Self::Running(_) => Err(ErrorCode::WouldBlock),
            Self::Found { any: false, .. } => Err(ErrorCode::NameUnresolvable),
            Self::Found { addresses, .. } => Ok(addresses.next().map(IpAddress::from)),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    let mut interface = linker.instance(INTERFACE)?;
    interface.resource("resolve-address-stream", ResourceType::host::<Lookup>(), |mut store, number| {
        let view = store.data_mut().pod_sockets();
        view.inner.table.delete(Resource::<Lookup>::new_own(number))?;
        Ok(())
    })?;
    interface.func_wrap("resolve-addresses", |store: StoreContextMut<'_, State>, (network, name)| {
        Ok((resolve(store, &network, name)?,))
    })?;
    interface.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: StoreContextMut<'_, State>, (lookup,): (Resource<Lookup>,)| {
            let view = store.data_mut().pod_sockets();
            Ok((view.inner.table.get_mut(&lookup)?.next(),))
        },
    )?;
    interface.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: StoreContextMut<'_, State>, (lookup,): (Resource<Lookup>,)| -> Result<(Resource<DynPollable>,)> {
            let view = store.data_mut().pod_sockets();
            Ok((subscribe(view.inner.table, lookup)?,))
        },
    )
}

fn resolve(
    mut store: StoreContextMut<'_, State>,
    network: &Resource<Network>,
    name: String,
) -> Result<Result<Resource<Lookup>, ErrorCode>> {
    let view = store.data_mut().pod_sockets();
    view.inner.table.get(network)?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Ok(Err(ErrorCode::InvalidArgument));
    }
    let pod = view.sockets.pod.clone();
    let running = wasmtime_wasi::runtime::spawn(async move { pod.look_up(&name).await });
    Ok(Ok(view.inner.table.push(Lookup::Running(running))?))
}
