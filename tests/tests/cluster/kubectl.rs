//! The stories that the real kubectl tells: its lines are those that a person types.

mod alter;
mod apply;
mod bad_input;
mod change;
mod deployments;
mod drain;
mod events;
mod log_readers;
mod logs;
mod look;
mod make;
mod namespaces;
mod same;
mod scheduling;
mod statefulsets;
