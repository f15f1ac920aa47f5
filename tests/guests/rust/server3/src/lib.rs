//! An HTTP component in Rust for WASI 0.3: it answers as the README lists it.
//!
//! One instance may answer several requests at once; nothing is kept between them.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_bindgen::{self, StreamReader};
use wasip3::{wit_future, wit_stream};

/// The component's face: `wasi:http/handler`.
struct Server;

wasip3::http::service::export!(Server);

impl wasip3::exports::http::handler::Guest for Server {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_else(|| "/".to_owned());
        println!("request for {target}");
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let response = match path {
            "/" => text(format!("{} from {}\n", variable("GREETING"), variable("POD_NAME")).into_bytes()),
            "/upper" => streamed(upper(body(request))),
            "/fetch" => text([b"fetched: ", &*fetch(query.trim_start_matches("host=")).await?].concat()),
            "/panic" => panic!("asked to"),
            _ => {
                let response = text(Vec::new());
                response.set_status_code(404).expect("404 is a status");
                response
            }
        };
        eprintln!("served");
        Ok(response)
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn body(request: Request) -> StreamReader<u8> {
    let (_, done) = wit_future::new(|| Ok(()));
    Request::consume_body(request, done).0
}

/// The same in capitals, as it comes.
fn upper(mut from: StreamReader<u8>) -> StreamReader<u8> {
    let (mut to, upper) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        let mut part = Vec::with_capacity(4096);
        loop {
            let (status, mut read) = from.read(part).await;
            let ended = matches!(status, wit_bindgen::StreamResult::Dropped);
            read.make_ascii_uppercase();
            part = to.write_all(read).await;
            // What was not taken: nobody reads any more.
            if ended || !part.is_empty() {
                return;
            }
            part = Vec::with_capacity(4096);
        }
    });
    upper
}

fn text(bytes: Vec<u8>) -> Response {
    let (mut to, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        to.write_all(bytes).await;
    });
    streamed(body)
}

fn streamed(body: StreamReader<u8>) -> Response {
    let headers = [("content-type".to_owned(), b"text/plain".to_vec())];
    let headers = Fields::from_list(&headers).expect("this header is allowed");
    let (_, trailers) = wit_future::new(|| Ok(None));
    Response::new(headers, Some(body), trailers).0
}

/// What another server answers.
async fn fetch(authority: &str) -> Result<Vec<u8>, ErrorCode> {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).expect("http is a scheme");
    request.set_authority(Some(authority)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_path_with_query(Some("/")).expect("a path");
    let (_, done) = wit_future::new(|| Ok(()));
    Ok(Response::consume_body(client::send(request).await?, done).0.collect().await)
}
