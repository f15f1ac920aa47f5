//! An HTTP component of WASI 0.3: `/healthz` is answered with `ok`; `/together` says `begun` at once, and when its body
//! has come to its end, how many requests the instance worked on; anything else is answered with the request's own
//! body, as it comes.

use std::cell::Cell;

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::{self, StreamReader, StreamResult, StreamWriter};
use wasip3::{wit_future, wit_stream};

/// The component's face: `wasi:http/handler`.
struct Web;

wasip3::http::service::export!(Web);

thread_local! {
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

impl wasip3::exports::http::handler::Guest for Web {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (to, answer) = wit_stream::new();
        match path.as_str() {
            "/healthz" => drop(wit_bindgen::spawn_local(say(to, "ok\n"))),
            "/together" => drop(wit_bindgen::spawn_local(together(body(request), to))),
            _ => drop(wit_bindgen::spawn_local(echo(body(request), to))),
        }
        let (_, trailers) = wit_future::new(|| Ok(None));
        Ok(Response::new(headers(&path), Some(answer), trailers).0)
    }
}

/// Only what is short is known to be.
fn headers(path: &str) -> Fields {
    let fields = Fields::new();
    if path == "/healthz" {
        fields.append("content-length", b"3").expect("this header is allowed");
    }
    fields
}

fn body(request: Request) -> StreamReader<u8> {
    let (_, done) = wit_future::new(|| Ok(()));
    Request::consume_body(request, done).0
}

async fn say(mut to: StreamWriter<u8>, text: &'static str) {
    to.write_all(text.as_bytes().to_vec()).await;
}

async fn together(from: StreamReader<u8>, mut to: StreamWriter<u8>) {
    OPEN.set(OPEN.get() + 1);
    to.write_all(b"begun\n".to_vec()).await;
    from.collect().await;
    to.write_all(format!("{} together\n", OPEN.get()).into_bytes()).await;
}

async fn echo(mut from: StreamReader<u8>, mut to: StreamWriter<u8>) {
    loop {
        let (status, piece) = from.read(Vec::with_capacity(64 * 1024)).await;
        let ended = matches!(status, StreamResult::Dropped);
        if !to.write_all(piece).await.is_empty() || ended {
            return;
        }
    }
}
