//! Over a socket: the kubeconfig that the server writes is all that a client needs, and nothing less will do.

use std::net::TcpListener;

use coracle_apiserver::{Apiserver, BuildError, Config, StoreKind};
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::server::mounts;

async fn client_of(kubeconfig: Kubeconfig) -> Client {
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn the_kubeconfig_opens_the_door_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { secure_port: 0, store: StoreKind::Memory, ..Config::new(dir.path()) };
    let server = Apiserver::build(config, mounts()).await.unwrap();
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    let ask = async move {
        let admin = client_of(kubeconfig.clone()).await;
        let names = Api::<Namespace>::all(admin.clone()).list(&kube::api::ListParams::default()).await.unwrap();
        assert_eq!(names.items.len(), 4);
        let mut stranger = kubeconfig;
        for user in &mut stranger.auth_infos {
            if let Some(user) = &mut user.auth_info {
                user.client_certificate_data = None;
                user.client_key_data = None;
            }
        }
        let stranger = client_of(stranger).await;
        let refused = Api::<Namespace>::all(stranger.clone()).get("default").await.unwrap_err();
        let kube::Error::Api(status) = refused else { panic!("{refused}") };
        assert_eq!(status.code, 403);
        assert!(stranger.apiserver_version().await.is_ok());
        told.cancel();
    };
    tokio::join!(server.run(shutdown), ask);
}

#[tokio::test]
async fn a_port_in_use_is_said_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = Config { secure_port: port, store: StoreKind::Memory, ..Config::new(dir.path()) };
    let refused = Apiserver::build(config, mounts()).await.err().unwrap();
    assert!(matches!(refused, BuildError::PortInUse { .. }), "{refused}");
    assert!(refused.to_string().contains("--secure-port"));
}

#[tokio::test]
async fn a_directory_of_another_server_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { secure_port: 0, ..Config::new(dir.path()) };
    let _first = Apiserver::build(config.clone(), mounts()).await.unwrap();
    let refused = Apiserver::build(config, mounts()).await.err().unwrap();
    assert!(matches!(refused, BuildError::Store(_)), "{refused}");
}
