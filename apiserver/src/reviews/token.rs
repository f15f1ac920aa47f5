//! `TokenReview`: whose is this token?

use coracle_api::clock;
use serde_json::{Value, json};

use super::who::user_info;
use super::with_status;
use crate::answer::Refused;
use crate::identity::Identity;
use crate::machine::Call;
use crate::tokens::{ISSUER, TokenError, holder};

/// Tells whose the token is, and for which of the audiences that are asked about.
pub(super) fn review(call: &Call, asked: Value) -> Result<Value, Refused> {
    let token = asked.pointer("/spec/token").and_then(Value::as_str).unwrap_or("");
    if token.is_empty() {
        return Err(Refused::bad_request("token is required for TokenReview in authentication"));
    }
    let listed = asked.pointer("/spec/audiences").and_then(Value::as_array).into_iter().flatten();
    let mut audiences: Vec<String> = listed.filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let status = match identify(call, token, &audiences) {
        Ok((user, audiences)) => json!({"authenticated": true, "user": user_info(&user), "audiences": audiences}),
        Err(why) => json!({"user": {}, "error": why}),
    };
    Ok(with_status(asked, status))
}

fn identify(call: &Call, token: &str, audiences: &[String]) -> Result<(Identity, Vec<String>), String> {
    let foreign = TokenError::Foreign.to_string();
    let those = |of: &[String]| -> Vec<String> { of.iter().filter(|a| audiences.contains(a)).cloned().collect() };
    if let Some(user) = call.machine.authenticator.tokens.find(token) {
        // Such a token says nothing of audiences: it is meant for this server.
        let ours = those(&[ISSUER.to_owned()]);
        return if ours.is_empty() { Err(foreign) } else { Ok((user.clone(), ours)) };
    }
    let also = |why: &str| format!("[{foreign}, {why}]");
    let now = clock::now();
    let claims = call.machine.tokens.read(token, now).map_err(|error| match error {
        TokenError::Foreign => foreign.clone(),
        TokenError::Expired | TokenError::NotYet => also(&error.to_string()),
    })?;
    let common = those(&claims.aud);
    if common.is_empty() {
        let (is, wanted) = (quoted(&claims.aud), quoted(audiences));
        return Err(also(&format!("token audiences {is} is invalid for the target audiences {wanted}")));
    }
    let holder = holder::of(&claims, &*call.machine.store, now).map_err(|why| also(&why))?;
    let user = Identity::exactly(holder.user, holder.groups).with_uid(holder.uid).with_extra(holder.extra);
    Ok((user, common))
}

/// A list of texts as Go prints it.
fn quoted(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "))
}
