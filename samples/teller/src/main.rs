//! Teller: asks the database who it is, again and again, and tells what it said.
//!
//! Invariant: it knows the database by one name and keeps no address: each time it looks the name up, and so it
//! follows the name wherever that leads.

use std::env;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::Duration;

/// Where the database is unless `DATABASE` says otherwise.
const DATABASE: &str = "database:8080";

/// How long it rests between two questions.
const REST: Duration = Duration::from_millis(500);

fn main() {
    let database = env::var("DATABASE").unwrap_or_else(|_| DATABASE.to_owned());
    let mut told = String::new();
    loop {
        let said = ask(&database).unwrap_or_else(|error| format!("{database}: {error}"));
        // What is new is told; a log that says the same for ever hides it.
        if said != told {
            println!("{said}");
            told = said;
        }
        sleep(REST);
    }
}

/// Asks the database who it is; tells where that was, and the answer.
fn ask(database: &str) -> io::Result<String> {
    let address = database.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("has no address"))?;
    let mut connection = TcpStream::connect(address)?;
    write!(connection, "GET /whoami HTTP/1.1\r\nHost: {database}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(format!("{database} at {address} is {}", body.trim()))
}
