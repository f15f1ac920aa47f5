//! Bodies by example, and that nothing in a body makes decoding fail otherwise than by an answer.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const CONFIG_MAP: Expected<'static> =
    Expected { api_version: "v1", kind: "ConfigMap", schema: Some("io.k8s.api.core.v1.ConfigMap") };

fn decoded(media: &str, body: &[u8], validation: FieldValidation) -> Result<Decoded, Refused> {
    let mut headers = HeaderMap::new();
    if !media.is_empty() {
        headers.insert(CONTENT_TYPE, media.parse().unwrap());
    }
    object(&Bytes::copy_from_slice(body), &headers, &CONFIG_MAP, validation)
}

fn check(media: &str, body: &str, expected: Expect) {
    let shown = match decoded(media, body.as_bytes(), FieldValidation::Warn) {
        Ok(Decoded { object, warnings }) => format!("{object} {warnings:?}"),
        Err(refused) => {
            format!("{} {}", refused.code().as_u16(), refused.json().pointer("/message").unwrap().as_str().unwrap())
        }
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_body_is_read_by_its_media_type() {
    let json = r#"{"data":{"a":"1"}}"#;
    for media in
        ["", "application/json", "application/json; charset=utf-8", "Application/JSON ;x=y", "application/yaml"]
    {
        check(media, json, expect![[r#"{"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap"} []"#]]);
    }
    for media in ["text/plain", "application/cbor", "application/x-www-form-urlencoded", "application/json, text/plain"]
    {
        check(
            media,
            json,
            expect![
                "415 the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
            ],
        );
    }
}

#[test]
fn a_body_that_is_no_object_is_refused_in_upstreams_words() {
    for (body, expected) in [
        (
            "",
            expect![
                "400 the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
            ],
        ),
        (
            r#"{"apiVersion":"#,
            expect![[
                r#"400 the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({"apiVersion":)"#
            ]],
        ),
        (
            "[]",
            expect![[
                r#"400 the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#
            ]],
        ),
        (
            r#"{"kind":1}"#,
            expect![[
                r#"400 the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})"#
            ]],
        ),
        ("null", expect![[r#"{"apiVersion":"v1","kind":"ConfigMap"} []"#]]),
        (
            r#"{"kind":"Secret"}"#,
            expect![[
                r#"400 Secret in version "v1" cannot be handled as a ConfigMap: no kind "Secret" is registered for version "v1" here"#
            ]],
        ),
        (
            r#"{"apiVersion":"apps/v9","kind":"ConfigMap"}"#,
            expect![[
                r#"400 ConfigMap in version "v9" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "apps/v9" here"#
            ]],
        ),
    ] {
        check("application/json", body, expected);
    }
    let long = decoded("", format!("{{\"x\":\"{}", "y".repeat(100)).as_bytes(), FieldValidation::Warn).unwrap_err();
    assert!(long.json().pointer("/message").unwrap().as_str().unwrap().ends_with(" ...)"));
}

#[test]
fn yaml_is_read_up_to_its_first_end() {
    check(
        "application/yaml",
        "kind: ConfigMap\ndata:\n  a: \"1\"\n---\nkind: Secret\n",
        expect![[r#"{"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap"} []"#]],
    );
    check("application/yaml", "", expect![[r#"{"apiVersion":"v1","kind":"ConfigMap"} []"#]]);
    check(
        "application/yaml",
        "data:\n  a: \"1\"\n  b: \"2\"\n  a: \"3\"\nnope: 1\n",
        expect![[
            r#"{"apiVersion":"v1","data":{"a":"3","b":"2"},"kind":"ConfigMap","nope":1} ["line 4: key \"a\" already set in map", "unknown field \"nope\""]"#
        ]],
    );
    let broken = decoded("application/yaml", b"a: [", FieldValidation::Warn).unwrap_err();
    let said = broken.json().pointer("/message").unwrap().as_str().unwrap().to_owned();
    let head = "the object provided is unrecognized (must be of type ConfigMap): yaml: ";
    assert!(said.starts_with(head) && said.ends_with("(613a205b)") && !said.contains('\n'), "{said}");
}

#[test]
fn what_to_do_about_odd_fields_is_the_clients_choice() {
    let body = br#"{"nope":1,"data":{"a":"1","a":"2"}}"#;
    let ignored = decoded("", body, FieldValidation::Ignore).unwrap();
    assert_eq!(ignored.warnings, Vec::<String>::new());
    let warned = decoded("", body, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings, [r#"unknown field "nope""#, r#"duplicate field "data.a""#]);
    let refused = decoded("", body, FieldValidation::Strict).unwrap_err();
    expect![[r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "nope", duplicate field "data.a""#]]
        .assert_eq(refused.json().pointer("/message").unwrap().as_str().unwrap());
}

#[test]
fn a_hostile_body_is_refused_soon() {
    let deep = "[".repeat(100_000);
    let nested = format!("a: {}", "[".repeat(50_000));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = format!("*a{}, ", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{inner}]\n");
    }
    let started = std::time::Instant::now();
    for (media, body) in [("application/json", &deep), ("application/yaml", &nested), ("application/yaml", &bomb)] {
        assert!(decoded(media, body.as_bytes(), FieldValidation::Warn).is_err(), "{media}");
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail_otherwise_than_by_an_answer(
        media in prop_oneof![Just("application/json"), Just("application/yaml"), Just(proto::MEDIA_TYPE)],
        bytes: Vec<u8>,
    ) {
        let _ = decoded(media, &bytes, FieldValidation::Warn);
    }

    #[test]
    fn no_text_makes_it_fail_otherwise_than_by_an_answer(
        media in prop_oneof![Just("application/json"), Just("application/yaml")],
        text in r#"([\[\]{}",:0-9a-z .\-\\&*!|>?%@#\n]|data|kind|: |- |\n  ){0,40}"#,
    ) {
        let _ = decoded(media, text.as_bytes(), FieldValidation::Strict);
    }
}
