//! The parameters of requests, as OpenAPI tells them.

use std::borrow::Cow;

/// A parameter in the path or the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it stands: `path` or `query`.
    pub(super) place: &'static str,
    /// `string`, `integer` or `boolean`.
    pub(super) kind: &'static str,
    /// What it is for.
    pub(super) description: Cow<'static, str>,
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: "query", kind, description: Cow::Borrowed(description) }
}

const fn path(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: "path", kind: "string", description: Cow::Borrowed(description) }
}

/// Which namespace is meant.
pub(super) const NAMESPACE: Parameter = path("namespace", "object name and auth scope, such as for teams and projects");

/// Where a proxied request goes.
pub(super) const PROXIED: Parameter = path("path", "path to the resource");

/// Answers for people.
pub(super) const PRETTY: Parameter =
    query("pretty", "string", "If 'true', the answer is indented, for people to read.");

/// Which object of a kind is meant.
pub(super) fn name(kind: &str) -> Parameter {
    Parameter { description: format!("name of the {kind}").into(), ..path("name", "") }
}

const ALLOW_WATCH_BOOKMARKS: Parameter = query(
    "allowWatchBookmarks",
    "boolean",
    "Asks for events of type BOOKMARK, which tell how far a watch has come. They may come at any time, or never.",
);
const CONTINUE: Parameter = query(
    "continue",
    "string",
    "The token from the metadata of a list that was limited: asks for what comes after it. It expires after some \
     minutes; the server then answers 410 with a token that goes on from the newest state.",
);
const DRY_RUN: Parameter = query(
    "dryRun",
    "string",
    "If 'All', everything is done but the last step: nothing is kept. No other value is allowed.",
);
const FIELD_MANAGER: Parameter = query(
    "fieldManager",
    "string",
    "Who makes this change, for metadata.managedFields: up to 128 printable characters. It is required for apply; \
     otherwise the first part of the User-Agent is taken if it is absent.",
);
const FIELD_SELECTOR: Parameter =
    query("fieldSelector", "string", "Restricts the answer to objects with these fields. By default: all.");
const FIELD_VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "What is done about fields that are unknown or stand twice: 'Ignore' drops them, 'Warn' (the default) sends a \
     warning for each, 'Strict' refuses the request.",
);
const FORCE: Parameter = query(
    "force",
    "boolean",
    "Takes over fields that another manager has applied, instead of reporting a conflict. Only apply knows it.",
);
const GRACE_PERIOD: Parameter = query(
    "gracePeriodSeconds",
    "integer",
    "How long the object has before it goes, in seconds. 0 deletes it at once; by default the object says.",
);
const IGNORE_STORE_READ_ERROR: Parameter = query(
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "boolean",
    "Deletes an object even if it cannot be read from the store, without finalizers and preconditions.",
);
const LABEL_SELECTOR: Parameter =
    query("labelSelector", "string", "Restricts the answer to objects with these labels. By default: all.");
const LIMIT: Parameter = query(
    "limit",
    "integer",
    "How many objects are returned at most. If there are more, the metadata of the list holds a token for 'continue'; \
     all parts show the state of the first.",
);
const ORPHAN_DEPENDENTS: Parameter = query(
    "orphanDependents",
    "boolean",
    "Deprecated: use propagationPolicy. Whether the objects that this one owns stay. Not together with the other.",
);
const PROPAGATION_POLICY: Parameter = query(
    "propagationPolicy",
    "string",
    "What becomes of the objects that this one owns: 'Orphan' lets them stay, 'Background' deletes them later, \
     'Foreground' before it.",
);
const RESOURCE_VERSION: Parameter = query(
    "resourceVersion",
    "string",
    "Which state is asked for, in the way that resourceVersionMatch says; of a watch, after which state it begins.",
);
const RESOURCE_VERSION_MATCH: Parameter =
    query("resourceVersionMatch", "string", "How resourceVersion is meant: 'Exact', or 'NotOlderThan'.");
const SEND_INITIAL_EVENTS: Parameter = query(
    "sendInitialEvents",
    "boolean",
    "A watch begins with an event for each object that is there, and a bookmark after them.",
);
const TIMEOUT_SECONDS: Parameter =
    query("timeoutSeconds", "integer", "After how many seconds a list is given up, or a watch ends.");
const WATCH: Parameter =
    query("watch", "boolean", "Follows the objects: answers with a stream of what is added, changed and deleted.");

/// Of lists and watches.
pub(super) const LIST: [Parameter; 10] = [
    ALLOW_WATCH_BOOKMARKS,
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    TIMEOUT_SECONDS,
    WATCH,
];

/// Of creating and replacing.
pub(super) const WRITE: [Parameter; 3] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];

/// Of patching.
pub(super) const PATCH: [Parameter; 4] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];

/// Of deleting an object.
pub(super) const DELETE: [Parameter; 5] =
    [DRY_RUN, GRACE_PERIOD, IGNORE_STORE_READ_ERROR, ORPHAN_DEPENDENTS, PROPAGATION_POLICY];

/// Of deleting a collection.
pub(super) const DELETE_COLLECTION: [Parameter; 13] = [
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE_PERIOD,
    IGNORE_STORE_READ_ERROR,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN_DEPENDENTS,
    PROPAGATION_POLICY,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    TIMEOUT_SECONDS,
];

const CONTAINER: Parameter =
    query("container", "string", "Which container is meant. By default the only one of the pod.");

/// Of a pod's log.
static LOG: [Parameter; 9] = [
    CONTAINER,
    query("follow", "boolean", "Goes on with the log as it is written."),
    query("insecureSkipTLSVerifyBackend", "boolean", "Does not check the certificate of the node's kubelet."),
    query("limitBytes", "integer", "After how many bytes the answer ends, perhaps within a line."),
    query("previous", "boolean", "The log of the container that ran before."),
    query("sinceSeconds", "integer", "Only what is not older than so many seconds."),
    query("stream", "string", "Which stream of the container: 'All', 'Stdout' or 'Stderr'."),
    query("tailLines", "integer", "Only so many lines from the end."),
    query("timestamps", "boolean", "Writes the time in front of each line."),
];

const STDIN: Parameter = query("stdin", "boolean", "Whether standard input is sent.");
const STDOUT: Parameter = query("stdout", "boolean", "Whether standard output is received.");
const STDERR: Parameter = query("stderr", "boolean", "Whether standard error is received.");
const TTY: Parameter = query("tty", "boolean", "Whether a terminal is made for it.");
static ATTACH: [Parameter; 5] = [CONTAINER, STDERR, STDIN, STDOUT, TTY];
static EXEC: [Parameter; 6] =
    [query("command", "string", "What is run, as a list; no shell is between."), CONTAINER, STDERR, STDIN, STDOUT, TTY];
static PORT_FORWARD: [Parameter; 1] = [query("ports", "integer", "The ports that are forwarded.")];
static PROXY: [Parameter; 1] = [query("path", "string", "The path of the request that is passed on.")];

/// Of a subresource whose requests are passed on or streamed; none of others.
pub(super) fn of_subresource(name: &str) -> &'static [Parameter] {
    match name {
        "log" => &LOG,
        "attach" => &ATTACH,
        "exec" => &EXEC,
        "portforward" => &PORT_FORWARD,
        "proxy" => &PROXY,
        _ => &[],
    }
}
