//! A Service's page, with its endpoints.

use serde_json::Value;

use super::page::{Page, list, pairs, scalar, text};

pub(super) fn describe(page: &mut Page, service: &Value, slices: &Value) {
    page.head(service);
    page.values(
        "Selector",
        vec![pairs(service, "/spec/selector", "=").join(",")].into_iter().filter(|s| !s.is_empty()).collect(),
    );
    page.field("Type", scalar(service, "/spec/type"));
    page.field("IP Family Policy", scalar(service, "/spec/ipFamilyPolicy"));
    page.field("IP", scalar(service, "/spec/clusterIP"));
    for port in list(service, "/spec/ports") {
        let name = match text(port, "/name") {
            "" => "<unset>",
            name => name,
        };
        let protocol = text(port, "/protocol");
        page.field("Port", format!("{name}  {}/{protocol}", scalar(port, "/port")));
        page.field("TargetPort", format!("{}/{protocol}", scalar(port, "/targetPort")));
        if port.get("nodePort").is_some() {
            page.field("NodePort", format!("{name}  {}/{protocol}", scalar(port, "/nodePort")));
        }
        page.field("Endpoints", endpoints(slices, text(port, "/name")));
    }
    page.field("Session Affinity", scalar(service, "/spec/sessionAffinity"));
    page.field("Internal Traffic Policy", scalar(service, "/spec/internalTrafficPolicy"));
}

fn endpoints(slices: &Value, port: &str) -> String {
    let mut found = Vec::new();
    for slice in list(slices, "/items") {
        let number = list(slice, "/ports").find(|p| text(p, "/name") == port).map(|p| scalar(p, "/port"));
        let Some(number) = number else { continue };
        for endpoint in list(slice, "/endpoints") {
            if endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)) {
                found.extend(list(endpoint, "/addresses").filter_map(Value::as_str).map(|a| format!("{a}:{number}")));
            }
        }
    }
    if found.is_empty() { "<none>".to_owned() } else { found.join(",") }
}
