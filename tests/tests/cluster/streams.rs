//! Sessions: what goes over one connection for long, in every protocol that clients speak for it.

mod kube_rs;
mod port_forward;
mod refusals;
mod remote_command;
