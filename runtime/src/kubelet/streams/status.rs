//! How the end of a command is told on the error stream. Pure.
//!
//! From version 4 on it is a `Status` as JSON; before, it is a sentence if something went wrong, and nothing if not.

use serde_json::json;

use super::super::session::Exit;
use super::remote_command::Kind;

/// How a client wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a `Status`.
    Status,
    /// As a sentence.
    Sentence,
}

/// What is sent on the error stream; nothing if nothing is to be told.
pub(super) fn told(exit: &Exit, kind: &Kind, form: Form) -> Vec<u8> {
    let status = match exit {
        Exit::Success if form == Form::Sentence => return Vec::new(),
        Exit::Success => json!({"metadata": {}, "status": "Success"}),
        Exit::Code(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: {}", failed(kind, *code)),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Exit::Failed(why) => {
            let doing = match kind {
                Kind::Exec(_) => "error executing command in container",
                Kind::Attach => "error attaching to container",
            };
            let why = format!("{doing}: {why}");
            json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {why}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": why}]},
                "code": 500,
            })
        }
    };
    match form {
        Form::Status => status.to_string().into_bytes(),
        Form::Sentence => status.get("message").and_then(|m| m.as_str()).unwrap_or_default().as_bytes().to_vec(),
    }
}

fn failed(kind: &Kind, code: i32) -> String {
    match kind {
        Kind::Exec(args) => format!("error executing command [{}], exit code {code}", args.join(" ")),
        Kind::Attach => format!("exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(exit: &Exit, form: Form, expected: &Expect) {
        let kind = Kind::Exec(vec!["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()]);
        expected.assert_eq(&String::from_utf8(told(exit, &kind, form)).unwrap());
    }

    #[test]
    fn the_end_of_a_command_is_told_as_a_status() {
        check(&Exit::Success, Form::Status, &expect![[r#"{"metadata":{},"status":"Success"}"#]]);
        check(&Exit::Success, Form::Sentence, &expect![""]);
        check(
            &Exit::Code(3),
            Form::Status,
            &expect![[
                r#"{"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#
            ]],
        );
        check(
            &Exit::Failed("no such program".to_owned()),
            Form::Status,
            &expect![[
                r#"{"code":500,"details":{"causes":[{"message":"error executing command in container: no such program"}]},"message":"Internal error occurred: error executing command in container: no such program","metadata":{},"reason":"InternalError","status":"Failure"}"#
            ]],
        );
        check(
            &Exit::Code(3),
            Form::Sentence,
            &expect!["command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3"],
        );
    }
}
