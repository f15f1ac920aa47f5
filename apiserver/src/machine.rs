//! What every handler works with: the store, the registry, the addresses of Services, and the way to the nodes.
//!
//! It is shared by all requests and holds no state of any one of them.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::failure::Failure;
use coracle_api::meet::{Figures, HttpService, Nodes};
use coracle_api::revision::Revision;
use http::{Extensions, HeaderMap};
use hyper::upgrade::OnUpgrade;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::admit::plugins::Plugins;
use crate::answer::{self, Answer, Form, Refused, Wanted, accept, shape};
use crate::apply::Writer;
use crate::authenticator::Authenticator;
use crate::authorizer::Authorizer;
use crate::discovery::Discovery;
use crate::fairness::Fairness;
use crate::health::Health;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::options::write::WriteOptions;
use crate::registry::addresses::Addresses;
use crate::registry::{Registry, Row, Scope};
use crate::request::ResourcePath;
use crate::store::{Converted, Entry, Key, Prefix, Store};
use crate::tls::Patience;
use crate::tokens::Tokens;

/// The machinery behind the chain.
pub(crate) struct Machine {
    /// The objects.
    pub(crate) store: Arc<dyn Store>,
    /// The kinds.
    pub(crate) registry: Registry,
    /// Who is who.
    pub(crate) authenticator: Authenticator,
    /// Who may do what.
    pub(crate) authorizer: Authorizer,
    /// Whose turn it is.
    pub(crate) fairness: Fairness,
    /// How long requests may take.
    pub(crate) limits: Limits,
    /// The admission plugins in force.
    pub(crate) plugins: Plugins,
    /// What Services get their addresses from.
    pub(crate) addresses: Addresses,
    /// The way to the nodes' kubelets.
    pub(crate) nodes: Arc<dyn Nodes>,
    /// What signs and reads ServiceAccount tokens.
    pub(crate) tokens: Arc<Tokens>,
    /// The image registry.
    pub(crate) images: Arc<dyn HttpService>,
    /// What other parts have counted.
    pub(crate) figures: Arc<dyn Figures>,
    /// What clients can find out about all this.
    pub(crate) discovery: Discovery,
    /// Whether it is alive and ready.
    pub(crate) health: Health,
    /// What it has done so far.
    pub(crate) metrics: Metrics,
    /// Ends watches and streams when the server stops.
    pub(crate) stopping: CancellationToken,
}

/// How long requests may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Those that are answered and done.
    pub(crate) request_timeout: Duration,
    /// Watches whose clients do not say: at least so long, and at most twice.
    pub(crate) min_request_timeout: Duration,
}

/// One request for a resource, past authentication and authorization.
pub(crate) struct Call {
    /// The machinery.
    pub(crate) machine: Arc<Machine>,
    /// Who is asking.
    pub(crate) user: Identity,
    /// The kind.
    pub(crate) row: Arc<Row>,
    /// The path.
    pub(crate) path: ResourcePath,
    /// The query, still encoded.
    pub(crate) query: String,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body; empty where the verb has none.
    pub(crate) body: bytes::Bytes,
    /// What the client calls itself, for want of a field manager.
    pub(crate) agent: String,
    /// The connection it came by, if that can be taken over.
    pub(crate) upgrade: Option<Upgrade>,
}

/// A connection that can be taken over for another protocol.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    /// Gives the connection, once the client has been answered with 101.
    pub(crate) connection: OnUpgrade,
    /// How long its client may read nothing.
    pub(crate) patience: Patience,
}

impl Upgrade {
    /// What the listener gave the request along.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        let connection = extensions.get::<OnUpgrade>()?.clone();
        Some(Self { connection, patience: extensions.get::<Patience>()?.clone() })
    }
}

/// How long a request waits for a revision that is still to come: upstream's bound.
const FRESH_WITHIN: Duration = Duration::from_secs(3);

/// What a client is shown.
pub(crate) enum Shown<'a> {
    /// A stored object.
    Entry(&'a Entry),
    /// An object that is not stored like this: of a dry run, or deleted.
    Value(&'a Value),
}

/// The store as a version of a kind sees it.
pub(crate) enum Seen<'a> {
    /// As it is: the version is the stored one.
    Plain(&'a dyn Store),
    /// Through a conversion.
    Through(Box<Converted>),
}

impl Deref for Seen<'_> {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        match self {
            Seen::Plain(store) => *store,
            Seen::Through(store) => &**store,
        }
    }
}

impl Call {
    /// Who writes by this request.
    pub(crate) fn writer(&self, options: &WriteOptions) -> Writer {
        let manager = if options.manager.is_empty() { &self.agent } else { &options.manager };
        Writer {
            manager: manager.clone(),
            api_version: self.row.api_version(),
            subresource: self.path.subresource.clone(),
            now: coracle_api::clock::now(),
        }
    }

    /// The store, with objects in the version of the row.
    pub(crate) fn store(&self) -> Seen<'_> {
        match self.row.strategy.conversion() {
            None => Seen::Plain(&*self.machine.store),
            Some(conversion) => {
                let store = Arc::clone(&self.machine.store);
                Seen::Through(Box::new(Converted::new(store, conversion, &self.row.api_version())))
            }
        }
    }

    /// The key of an object of this kind in this namespace.
    pub(crate) fn key(&self, name: &str) -> Key {
        Key::new(self.row.stored_group(), self.row.plural, &self.path.namespace, name)
    }

    /// The part of the key space that the path names.
    pub(crate) fn prefix(&self) -> Prefix {
        let everywhere = self.row.scope == Scope::Namespaced && self.path.namespace.is_empty();
        if everywhere {
            Prefix::resource(self.row.stored_group(), self.row.plural)
        } else {
            Prefix::namespace(self.row.stored_group(), self.row.plural, &self.path.namespace)
        }
    }

    /// The object that the path names.
    pub(crate) fn existing(&self) -> Result<Arc<Entry>, Refused> {
        let name = &self.path.name;
        self.store().get(&self.key(name)).ok_or_else(|| Refused::not_found(&self.row, name))
    }

    /// What the client wants to see.
    pub(crate) fn wanted(&self) -> Result<Wanted, Refused> {
        Ok(accept::wanted(&self.headers, &self.query)?)
    }

    /// An answer that shows one object as the client wants it.
    pub(crate) fn show(&self, code: http::StatusCode, shown: &Shown<'_>) -> Answer {
        show(&self.row, self.wanted()?, code, shown)
    }

    /// Waits until the store has come as far as the client has seen it elsewhere, but not for long.
    pub(crate) async fn reached(&self, revision: Revision) -> Result<(), Refused> {
        let store = &self.machine.store;
        if tokio::time::timeout(FRESH_WITHIN, store.reached(revision)).await.is_ok() {
            return Ok(());
        }
        let current = store.revision();
        let why = format!("Too large resource version: {revision}, current: {current}");
        let refused = Refused::from(Failure::Timeout(why));
        Err(refused.because("ResourceVersionTooLarge", "Too large resource version", "").retry_after(1))
    }
}

/// An answer that shows one object of a kind.
pub(crate) fn show(row: &Row, wanted: Wanted, code: http::StatusCode, shown: &Shown<'_>) -> Answer {
    if wanted.form == Form::MetadataList {
        let name = shape::type_name(row, row.kind);
        let why = format!("you requested PartialObjectMetadataList, but the requested object is not a list ({name})");
        return Err(Refused::from(Failure::NotAcceptable(String::new())).saying(why));
    }
    let object = match shown {
        Shown::Entry(entry) => entry.bytes().clone(),
        Shown::Value(value) => value.to_string().into(),
    };
    if wanted.form == Form::Object {
        return Ok(answer::encoded(code, object, wanted.encoding));
    }
    let mut shaped = Vec::new();
    shape::put_object(&mut shaped, row, wanted, &object, shape::Columns::Stated, coracle_api::clock::now());
    Ok(answer::encoded(code, shaped.into(), wanted.encoding))
}
