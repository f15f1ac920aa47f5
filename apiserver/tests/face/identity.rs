//! Who one is and may be: tokens, certificates, nobody, and acting as others, over a socket.

use std::future::Future;
use std::io::Write as _;

use coracle_apiserver::{Apiserver, AuthorizationMode, BuildError, Config};
use http::{Method, Request};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use crate::server::mounts;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// What a client shows.
#[derive(Default)]
struct Shown {
    token: Option<String>,
    /// A certificate and its key, as PEM.
    pair: Option<(String, String)>,
}

impl Shown {
    fn token(token: &str) -> Self {
        Self { token: Some(token.to_owned()), pair: None }
    }
}

/// A server on a port, and its admin's kubeconfig.
async fn serving<F: Future<Output = ()>>(change: impl FnOnce(&mut Config), ask: impl FnOnce(Kubeconfig) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::alone(dir.path());
    change(&mut config);
    let server = Apiserver::build(config, mounts()).await.unwrap();
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    let asking = async {
        ask(kubeconfig).await;
        told.cancel();
    };
    tokio::join!(server.run(shutdown), asking);
}

async fn client(kubeconfig: &Kubeconfig, shown: Shown) -> Client {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let mut kubeconfig = kubeconfig.clone();
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()) {
        let (certificate, key) = shown.pair.clone().unzip();
        user.client_certificate_data = certificate.map(encode);
        user.client_key_data = key.map(|key| encode(key).into());
        user.token = shown.token.clone().map(Into::into);
    }
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The code and message of an answer; `ok` for what is no refusal.
async fn asked(client: &Client, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.send(request.body(kube::client::Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = if head.status.is_success() { "ok" } else { json["message"].as_str().unwrap_or("") };
    (head.status.as_u16(), message.to_owned())
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn cannot_list(user: &str) -> (u16, String) {
    let why = format!(r#"User "{user}" cannot list resource "pods" in API group "" in the namespace "default""#);
    (403, format!("pods is forbidden: {why}"))
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

fn unauthorized() -> (u16, String) {
    (401, "Unauthorized".to_owned())
}

#[tokio::test]
async fn tokens_of_a_file_say_who_one_is() {
    let tokens = file("boss,bob,1,\"system:masters,x\"\njane-token,jane,2\n");
    let path = tokens.path().to_owned();
    serving(
        |config| config.token_auth_file = Some(path),
        async |kubeconfig| {
            let with = async |token: &str| client(&kubeconfig, Shown::token(token)).await;
            assert_eq!(asked(&with("boss").await, PODS, &[]).await, ok());
            assert_eq!(asked(&with("jane-token").await, PODS, &[]).await, cannot_list("jane"));
            assert_eq!(asked(&with("jane-token").await, "/apis", &[]).await, ok());
            assert_eq!(asked(&with("nope").await, PODS, &[]).await, unauthorized());
            let nobody = client(&kubeconfig, Shown::default()).await;
            assert_eq!(asked(&nobody, PODS, &[]).await, cannot_list("system:anonymous"));
            assert_eq!(asked(&nobody, "/readyz", &[]).await, ok());
            let why = r#"forbidden: User "system:anonymous" cannot get path "/metrics""#;
            assert_eq!(asked(&nobody, "/metrics", &[]).await, (403, why.to_owned()));
        },
    )
    .await;
}

#[tokio::test]
async fn where_everything_is_allowed_nobody_is_served_who_shows_nothing() {
    let tokens = file("t,jane,2\n");
    let path = tokens.path().to_owned();
    let change = |config: &mut Config| {
        config.token_auth_file = Some(path);
        config.authorization_mode = vec![AuthorizationMode::Rbac, AuthorizationMode::AlwaysAllow];
    };
    serving(change, async |kubeconfig| {
        assert_eq!(asked(&client(&kubeconfig, Shown::token("t")).await, PODS, &[]).await, ok());
        let nobody = client(&kubeconfig, Shown::default()).await;
        assert_eq!(asked(&nobody, PODS, &[]).await, unauthorized());
        assert_eq!(asked(&nobody, "/healthz", &[]).await, unauthorized());
    })
    .await;
}

#[tokio::test]
async fn where_nothing_is_allowed_only_masters_may() {
    serving(
        |config| config.authorization_mode = vec![AuthorizationMode::AlwaysDeny],
        async |kubeconfig| {
            let why = r#"forbidden: User "system:anonymous" cannot get path "/version": Everything is forbidden."#;
            let nobody = client(&kubeconfig, Shown::default()).await;
            assert_eq!(asked(&nobody, "/version", &[]).await, (403, why.to_owned()));
            let admin = Client::try_from(
                kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap(),
            );
            assert_eq!(asked(&admin.unwrap(), PODS, &[]).await, ok());
        },
    )
    .await;
}

/// An authority of its own, and a client certificate of it.
fn authority(user: &str, group: &str) -> (String, (String, String)) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut client = CertificateParams::new(Vec::new()).unwrap();
    client.distinguished_name = rcgen::DistinguishedName::new();
    client.distinguished_name.push(DnType::CommonName, user);
    client.distinguished_name.push(DnType::OrganizationName, group);
    client.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let client_key = KeyPair::generate().unwrap();
    let signed = client.signed_by(&client_key, &issuer).unwrap();
    (certificate.pem(), (signed.pem(), client_key.serialize_pem()))
}

#[tokio::test]
async fn certificates_of_further_authorities_say_who_one_is_and_others_are_refused() {
    let (trusted, jane) = authority("jane", "g");
    let (_, mallory) = authority("mallory", "system:masters");
    let (ca, tokens) = (file(&trusted), file("t,tom,1\n"));
    let (ca_path, tokens_path) = (ca.path().to_owned(), tokens.path().to_owned());
    let change = |config: &mut Config| {
        config.client_ca_file = Some(ca_path);
        config.token_auth_file = Some(tokens_path);
    };
    serving(change, async |kubeconfig| {
        let jane = client(&kubeconfig, Shown { pair: Some(jane), token: None }).await;
        assert_eq!(asked(&jane, PODS, &[]).await, cannot_list("jane"));
        let alone = client(&kubeconfig, Shown { pair: Some(mallory.clone()), token: None }).await;
        assert_eq!(asked(&alone, PODS, &[]).await, unauthorized());
        let with_token = client(&kubeconfig, Shown { pair: Some(mallory), token: Some("t".to_owned()) }).await;
        assert_eq!(asked(&with_token, PODS, &[]).await, cannot_list("tom"));
    })
    .await;
}

#[tokio::test]
async fn who_may_acts_as_somebody_else() {
    let tokens = file("boss,bob,1,system:masters\njane,jane,2\n");
    let path = tokens.path().to_owned();
    serving(
        |config| config.token_auth_file = Some(path),
        async |kubeconfig| {
            let boss = client(&kubeconfig, Shown::token("boss")).await;
            assert_eq!(asked(&boss, PODS, &[("Impersonate-User", "eve")]).await, cannot_list("eve"));
            let masters = [("Impersonate-User", "eve"), ("Impersonate-Group", "system:masters")];
            assert_eq!(asked(&boss, PODS, &masters).await, ok());
            let (code, why) = asked(&boss, PODS, &[("Impersonate-Group", "g")]).await;
            assert_eq!((code, why.as_str()), (400, "requested [{Group  g    }] without impersonating a user"));
            let jane = client(&kubeconfig, Shown::token("jane")).await;
            let why = r#"users "eve" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope"#;
            assert_eq!(asked(&jane, PODS, &[("Impersonate-User", "eve")]).await, (403, why.to_owned()));
            let account = [("Impersonate-User", "system:serviceaccount:n:sa")];
            let why = r#"serviceaccounts "sa" is forbidden: User "jane" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "n""#;
            assert_eq!(asked(&jane, PODS, &account).await, (403, why.to_owned()));
        },
    )
    .await;
}

#[tokio::test]
async fn an_account_is_who_holds_its_token_for_as_long_as_it_exists() {
    serving(
        |_| {},
        async |kubeconfig| {
            let admin = Client::try_from(
                kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await.unwrap(),
            )
            .unwrap();
            let account = json!({"metadata": {"name": "robot"}});
            let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> = kube::Api::default_namespaced(admin);
            accounts.create(&Default::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
            let wanted = serde_json::from_value(json!({"spec": {"audiences": []}, "metadata": {}})).unwrap();
            let made = accounts.create_token_request("robot", &Default::default(), &wanted).await.unwrap();
            let robot = client(&kubeconfig, Shown::token(&made.status.unwrap().token.unwrap())).await;
            let user = "system:serviceaccount:default:robot";
            assert_eq!(asked(&robot, PODS, &[]).await, cannot_list(user));
            accounts.delete("robot", &Default::default()).await.unwrap();
            assert_eq!(asked(&robot, PODS, &[]).await, unauthorized());
        },
    )
    .await;
}

#[tokio::test]
async fn files_and_modes_that_cannot_be_used_stop_the_start() {
    let refusal = async |change: &dyn Fn(&mut Config)| -> BuildError {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::alone(dir.path());
        change(&mut config);
        Apiserver::build(config, mounts()).await.err().unwrap()
    };
    let broken = file("a,b,c\nd,e\n");
    let told = refusal(&|config| config.token_auth_file = Some(broken.path().to_owned())).await.to_string();
    assert!(told.contains("line 2: must have at least 3 columns"), "{told}");
    let told = refusal(&|config| config.client_ca_file = Some(broken.path().to_owned())).await.to_string();
    assert!(told.contains("--client-ca-file"), "{told}");
    let told = refusal(&|config| config.token_auth_file = Some("/does/not/exist".into())).await.to_string();
    assert!(told.contains("cannot read --token-auth-file"), "{told}");
    let told = refusal(&|config| config.authorization_mode.clear()).await.to_string();
    assert_eq!(told, "at least one authorization-mode must be passed");
}

#[tokio::test]
async fn a_role_counts_as_soon_as_it_is_bound() {
    let tokens = file("jane,jane,2\n");
    let path = tokens.path().to_owned();
    serving(
        |config| config.token_auth_file = Some(path),
        async |kubeconfig| {
            let admin = Client::try_from(
                kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await.unwrap(),
            )
            .unwrap();
            let jane = client(&kubeconfig, Shown::token("jane")).await;
            let bindings: kube::Api<k8s_openapi::api::rbac::v1::RoleBinding> = kube::Api::default_namespaced(admin);
            let binding = json!({
                "metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "jane"}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            });
            bindings.create(&Default::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
            assert_eq!(asked(&jane, PODS, &[]).await, ok());
            assert_eq!(asked(&jane, "/api/v1/namespaces/kube-system/pods", &[]).await.0, 403);
            assert_eq!(asked(&jane, "/api/v1/namespaces/default/secrets", &[]).await.0, 403);
            bindings.delete("b", &Default::default()).await.unwrap();
            assert_eq!(asked(&jane, PODS, &[]).await, cannot_list("jane"));
        },
    )
    .await;
}
