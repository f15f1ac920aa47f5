//! `SelfSubjectReview`: who am I?

use coracle_api::clock;
use serde_json::{Map, Value, json};

use super::with_status;
use crate::answer::Refused;
use crate::identity::Identity;
use crate::machine::Call;
use crate::object;

/// Tells who is asking.
pub(super) fn review(call: &Call, mut asked: Value) -> Result<Value, Refused> {
    object::set(&mut asked, "creationTimestamp", object::time(clock::now()));
    Ok(with_status(asked, json!({"userInfo": user_info(&call.user)})))
}

/// What is known of a user, without what is not.
pub(super) fn user_info(user: &Identity) -> Value {
    let mut info = Map::new();
    let mut tell = |field: &str, value: Value| info.insert(field.to_owned(), value);
    if !user.name().is_empty() {
        tell("username", user.name().into());
    }
    if !user.uid().is_empty() {
        tell("uid", user.uid().into());
    }
    if !user.groups().is_empty() {
        tell("groups", user.groups().into());
    }
    if !user.extra().is_empty() {
        tell("extra", json!(user.extra()));
    }
    Value::Object(info)
}
