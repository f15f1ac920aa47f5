//! `echo3` sends back what comes at port 7003, with the sockets of WASI 0.3; each connection is served beside the others.

use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use wasip3::wit_bindgen;

/// The component's face: `wasi:cli/run`.
struct Echo;

wasip3::cli::command::export!(Echo);

/// Where it listens, at all of its addresses.
const HERE: IpSocketAddress = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 7003, address: (0, 0, 0, 0) });

impl wasip3::exports::cli::run::Guest for Echo {
    async fn run() -> Result<(), ()> {
        let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(|_| ())?;
        socket.bind(HERE).map_err(|_| ())?;
        let mut accepted = socket.listen().map_err(|_| ())?;
        println!("sends back what comes");
        while let Some(connection) = accepted.next().await {
            println!("{:?} connected", connection.get_remote_address());
            wit_bindgen::spawn_local(async move {
                let (come, _) = connection.receive();
                if let Err(error) = connection.send(come).await {
                    println!("a connection broke off: {error:?}");
                }
            });
        }
        Err(())
    }
}
