//! What goes out, what comes in, and policies that say several things.

use super::*;

#[test]
fn egress_is_of_the_pods_own_connections() {
    let deny = json!({ "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Egress"] });
    check(
        &[policy(deny)],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  -        -        y    -
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   y  y        y        y    y
    "#]],
    );
    let to =
        json!([{ "podSelector": { "matchLabels": { "app": "db" } } }, { "ipBlock": { "cidr": "203.0.113.7/32" } }]);
    check(
        &[policy(
            json!({ "podSelector": { "matchLabels": { "app": "web" } }, "egress": [{ "to": to }], "policyTypes": ["Egress"] }),
        )],
        expect![[r#"
                     web db prod-web prod-job node outside
            web      y   y  -        -        y    y
            db       y   y  y        y        y    y
            prod-web y   y  y        y        y    y
            prod-job y   y  y        y        y    y
            node     y   y  y        y        y    y
            outside  y   y  y        y        y    y
        "#]],
    );
}

#[test]
fn types_that_are_not_said_are_ingress_and_egress_if_it_has_rules() {
    let egress = json!([{ "to": [{ "podSelector": {} }] }]);
    check(
        &[policy(json!({ "podSelector": { "matchLabels": { "app": "web" } }, "egress": egress }))],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  -        -        y    -
        db       -   y  y        y        y    y
        prod-web -   y  y        y        y    y
        prod-job -   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  -   y  y        y        y    y
    "#]],
    );
    let only_egress =
        json!({ "podSelector": { "matchLabels": { "app": "web" } }, "egress": egress, "policyTypes": ["Egress"] });
    check(
        &[policy(only_egress)],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  -        -        y    -
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   y  y        y        y    y
    "#]],
    );
    let both = json!({ "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Ingress", "Egress"] });
    check(
        &[policy(both)],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  -        -        y    -
        db       -   y  y        y        y    y
        prod-web -   y  y        y        y    y
        prod-job -   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  -   y  y        y        y    y
    "#]],
    );
}

#[test]
fn several_policies_add_up_and_both_sides_must_agree() {
    let deny = policy(json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
    let [allowed] = from(json!([{ "podSelector": {} }]));
    check(
        &[deny.clone(), allowed.clone()],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  -        -        y    -
        db       -   y  -        -        y    -
        prod-web -   -  y        y        y    y
        prod-job -   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  -   -  y        y        y    y
    "#]],
    );
    let out = policy(json!({ "podSelector": {}, "egress": [{}], "policyTypes": ["Egress"] }));
    check(
        &[deny, allowed, out],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       -   y  y        y        y    y
        prod-web -   -  y        y        y    y
        prod-job -   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  -   -  y        y        y    y
    "#]],
    );
}
