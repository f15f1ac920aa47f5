//! A cluster for one test: a server, its data directory, and a person's tools pointed at it.
//!
//! Invariant: when it goes out of scope after a test that passed, the server was stopped by SIGTERM, has exited with 0,
//! and its log holds no unlisted error or warning. After a test that failed, the end of the log is shown instead.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::api::Api;
use crate::block::Block;
use crate::log::{self, Expected};
use crate::said::{Said, words};
use crate::server::{BeforeServer, Server};
use crate::stream::Stream;
use crate::terminal::Terminal;
use crate::{paths, wait};

/// A cluster to be: flags and limits.
#[derive(Default)]
pub struct Builder {
    flags: Vec<String>,
    api_port: u16,
    bind_address: Option<IpAddr>,
    pods: Option<String>,
    services: Option<String>,
    chooses_ranges: bool,
    before: BeforeServer,
    expected: Vec<Expected>,
}

impl Builder {
    /// More flags for `coracle server`.
    pub fn flags(mut self, line: &str) -> Self {
        self.flags.extend(words(line));
        self
    }

    /// Where API and DNS listen, instead of at an address of this test's own: ports that are asked for by number would
    /// be shared with other tests.
    pub fn bound_to(mut self, address: impl Into<IpAddr>) -> Self {
        self.bind_address = Some(address.into());
        self
    }

    /// Pods have their addresses here, for a cluster that has more than a block has room for.
    pub fn pods_from(mut self, cidr: &str) -> Self {
        self.pods = Some(cidr.to_owned());
        self
    }

    /// Services have their addresses here, for a cluster that has more than a block has room for.
    pub fn services_from(mut self, cidr: &str) -> Self {
        self.services = Some(cidr.to_owned());
        self
    }

    /// The server chooses the ranges of addresses itself. In a network of the test's own, since others would choose
    /// the same.
    pub fn ranges_as_they_come(mut self) -> Self {
        self.chooses_ranges = true;
        self
    }

    /// What stands before the server on its command line.
    pub fn before_server(mut self, before: BeforeServer) -> Self {
        self.before = before;
        self
    }

    /// Words of a warning or error that this test provokes, and why it is right that it is logged.
    pub fn expect_log(mut self, line: &'static str, why: &'static str) -> Self {
        self.expected.push((line, why));
        self
    }

    /// The cluster's place, without a server in it.
    pub fn stopped(self) -> Cluster {
        let dir = tempfile::Builder::new().prefix("coracle-test-").tempdir().expect("a directory can be made");
        std::fs::create_dir(dir.path().join("home")).expect("a directory can be made");
        Cluster { builder: self, dir, block: Block::claim(), server: None, api: OnceCell::new() }
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Cluster {
        let mut cluster = self.stopped();
        cluster.restart();
        cluster
    }
}

/// A cluster of this test's own.
pub struct Cluster {
    builder: Builder,
    dir: TempDir,
    block: Block,
    server: Option<Server>,
    api: OnceCell<Api>,
}

impl Cluster {
    /// A cluster as it comes.
    #[track_caller]
    pub fn start() -> Self {
        Builder::default().start()
    }

    /// A cluster with something special.
    pub fn builder() -> Builder {
        Builder::default()
    }

    // ---- the server ----

    /// Everything the server keeps.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A place for a test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the server's log is.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// The command line that would start this cluster's server.
    pub fn server_command(&self) -> Command {
        let mut command = self.builder.before.command(&paths::coracle());
        let address = self.builder.bind_address.unwrap_or_else(|| self.block.address().into()).to_string();
        command.arg("server").arg("--data-dir").arg(self.data_dir());
        let api_port = self.builder.api_port.to_string();
        command.args(["--bind-address", &address, "--secure-port", &api_port, "--dns-port", "0"]);
        let pods = self.builder.pods.clone().unwrap_or_else(|| self.block.pods());
        let services = self.builder.services.clone().unwrap_or_else(|| self.block.services());
        if !self.builder.chooses_ranges {
            command.args(["--cluster-cidr", &pods, "--service-cluster-ip-range", &services]);
        }
        command.args(&self.builder.flags).current_dir(self.dir.path()).env("HOME", self.dir.path().join("home"));
        command
    }

    /// Runs a server that must refuse to start; returns what it said on standard error.
    #[track_caller]
    pub fn refuses_to_start(&self) -> String {
        Said::run(&mut self.server_command(), "").refused()
    }

    /// Stops the server if it runs, and starts it in the same place.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.server = Some(Server::start(&mut self.server_command(), &self.log()));
    }

    /// Stops the server by SIGTERM; it must exit with 0.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(server) = &self.server {
            server.signal(Signal::TERM);
            self.ended();
        }
    }

    /// Waits for the end of a server that was told to stop; it must exit with 0.
    #[track_caller]
    pub fn ended(&mut self) {
        self.api.take();
        let mut server = self.server.take().expect("the server runs");
        let status = server.ended().unwrap_or_else(|e| panic!("{e}:\n{}", log::tail(&self.log())));
        assert!(status.success(), "the server ended with {status}:\n{}", log::tail(&self.log()));
    }

    /// Ends the server as a power cut would.
    pub fn kill_hard(&mut self) {
        self.api.take();
        self.server.take().expect("the server runs").kill();
    }

    /// From the next start on, the API's port is this one, rather than any that is free.
    pub fn wants_port(&mut self, port: u16) {
        self.builder.api_port = port;
    }

    /// Words of a warning or error that is right from here on, and why.
    pub fn expect_log(&mut self, line: &'static str, why: &'static str) {
        self.builder.expected.push((line, why));
    }

    /// The running server.
    #[track_caller]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    /// CPU time that the server has used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.server().pid())).expect("the server runs");
        // The name stands in parentheses and may hold anything; after it, utime and stime are the 12th and 13th.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks: u32 = fields[11..13].iter().map(|t| t.parse::<u32>().expect("a number")).sum();
        // Linux counts in hundredths of a second for user space on every machine.
        f64::from(ticks) / 100.0
    }

    // ---- addresses ----

    /// Where API, DNS and NodePorts listen.
    pub fn address(&self) -> Ipv4Addr {
        self.block.address()
    }

    /// A NodePort.
    pub fn node_port(&self, port: u16) -> SocketAddr {
        (self.address(), port).into()
    }

    // ---- a person's tools ----

    /// Runs the real kubectl.
    pub fn kubectl(&self, line: &str) -> Said {
        self.kubectl_with(line, "")
    }

    /// Runs the real kubectl with something on its standard input, for `-f -`.
    pub fn kubectl_with(&self, line: &str, input: &str) -> Said {
        Said::run(&mut self.tool("kubectl", line), input)
    }

    /// Runs the real kubectl with an editor of ours.
    pub fn kubectl_edit(&self, line: &str, editor: &Path) -> Said {
        Said::run(self.tool("kubectl", line).env("KUBE_EDITOR", editor), "")
    }

    /// Runs the real kubectl in an environment with these variables.
    pub fn kubectl_within(&self, line: &str, variables: &[(&str, &str)], input: &str) -> Said {
        Said::run(self.tool("kubectl", line).envs(variables.iter().copied()), input)
    }

    /// Runs a kubectl that goes on speaking.
    pub fn kubectl_stream(&self, line: &str) -> Stream {
        Stream::start(&mut self.tool("kubectl", line))
    }

    /// The same, in an environment with these variables.
    pub fn kubectl_stream_with(&self, line: &str, variables: &[(&str, &str)]) -> Stream {
        Stream::start(self.tool("kubectl", line).envs(variables.iter().copied()))
    }

    /// Runs the real kubectl in a terminal.
    pub fn kubectl_terminal(&self, line: &str) -> Terminal {
        Terminal::start(&mut self.tool("kubectl", line))
    }

    /// Runs one of our own verbs.
    pub fn coracle(&self, line: &str) -> Said {
        self.coracle_with(line, "")
    }

    /// Runs one of our own verbs with something on its standard input.
    pub fn coracle_with(&self, line: &str, input: &str) -> Said {
        Said::run(&mut self.tool(paths::coracle(), line), input)
    }

    /// Runs one of our own verbs that goes on speaking.
    pub fn coracle_stream(&self, line: &str) -> Stream {
        Stream::start(&mut self.tool(paths::coracle(), line))
    }

    fn tool(&self, program: impl AsRef<OsStr>, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(words(line)).current_dir(paths::root()).env("KUBECONFIG", &self.server().kubeconfig);
        // A home of its own: no cache and no settings of another cluster.
        command.env("HOME", self.dir.path().join("home"));
        command
    }

    /// Pushes a sample under the name that its YAML uses.
    #[track_caller]
    pub fn push(&self, sample: &str) {
        self.push_as(sample, &format!("{sample}:1"));
    }

    /// Pushes a sample under another name.
    #[track_caller]
    pub fn push_as(&self, sample: &str, name: &str) {
        self.coracle(&format!("image push {} {name}", paths::sample(sample).display())).ok();
    }

    /// Writes a file for a test and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path.display().to_string()
    }

    // ---- the API, without a tool between ----

    /// A connection to the API, made when it is first needed.
    #[track_caller]
    pub fn api(&self) -> &Api {
        self.api.get_or_init(|| self.connect())
    }

    /// Another connection, for a thread of its own.
    #[track_caller]
    pub fn connect(&self) -> Api {
        Api::connect(&self.server().kubeconfig)
    }

    /// Reads an object or a list that must be there.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.api().get(path)
    }

    // ---- waiting ----

    /// The pods with these labels in `default`.
    pub fn pods(&self, selector: &str) -> Vec<Value> {
        let list = self.get(&format!("/api/v1/namespaces/default/pods?labelSelector={selector}"));
        list["items"].as_array().expect("a list").clone()
    }

    /// Waits until so many pods have these labels and all are ready, and returns their names, sorted.
    #[track_caller]
    pub fn ready_pods(&self, selector: &str, count: usize) -> Vec<String> {
        wait::eventually(&format!("{count} ready pods with {selector}"), || {
            let pods = self.pods(selector);
            let ready = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null() && is_ready(pod);
            let mut names: Vec<String> = pods.iter().filter(ready).map(name).collect();
            names.sort();
            if names.len() == count && pods.len() == count { Ok(names) } else { Err(statuses(&pods)) }
        })
    }

    /// Waits until a pod's first container waits for this reason, and returns the message.
    #[track_caller]
    pub fn waiting(&self, pod: &str, reasons: &[&str]) -> String {
        wait::eventually(&format!("{pod} waiting with {reasons:?}"), || {
            let pod = self.get(&format!("/api/v1/namespaces/default/pods/{pod}"));
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            let found = waiting["reason"].as_str().is_some_and(|r| reasons.contains(&r));
            let message = waiting["message"].as_str().unwrap_or_default().to_owned();
            if found { Ok(message) } else { Err(pod["status"].to_string()) }
        })
    }

    /// Waits until a pod has ended, and returns its first container's `terminated`.
    #[track_caller]
    pub fn terminated(&self, pod: &str) -> Value {
        wait::eventually(&format!("the end of {pod}"), || {
            let pod = self.get(&format!("/api/v1/namespaces/default/pods/{pod}"));
            let terminated = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            if ended { Ok(terminated.clone()) } else { Err(pod["status"].to_string()) }
        })
    }

    /// Waits for an event about an object with this reason, and returns its message.
    #[track_caller]
    pub fn event(&self, object: &str, reason: &str) -> String {
        wait::eventually(&format!("an event {reason} of {object}"), || {
            let events = self.get("/api/v1/namespaces/default/events");
            let events = events["items"].as_array().expect("a list");
            let wanted = |e: &&Value| e["involvedObject"]["name"] == object && e["reason"] == reason;
            let found = events.iter().find(wanted).and_then(|e| e["message"].as_str());
            let seen = || events.iter().map(|e| format!("{} {}", e["involvedObject"]["name"], e["reason"]));
            found.map(str::to_owned).ok_or_else(|| seen().collect::<Vec<_>>().join("; "))
        })
    }
}

/// An object's name.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("every object has a name").to_owned()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn statuses(pods: &[Value]) -> String {
    pods.iter().map(|pod| format!("{}: {}", pod["metadata"]["name"], pod["status"])).collect::<Vec<_>>().join("\n")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Seen only if the test fails, which it does.
            let log = log::tail(&self.log());
            std::io::Write::write_all(&mut std::io::stderr(), format!("--- the server's log\n{log}\n").as_bytes()).ok();
            return;
        }
        self.stop();
        log::check(&self.log(), &self.builder.expected);
    }
}
