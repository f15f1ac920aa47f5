"""An HTTP component in Python, for wasi:http 0.2: it answers as README.md lists it."""

import asyncio
import os
import sys
import urllib.parse

from componentize_py_types import Ok
from poll_loop import PollLoop, Sink, Stream, send
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Get,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(answer(request, response_out))


async def answer(request: IncomingRequest, out: ResponseOutparam) -> None:
    target = request.path_with_query() or "/"
    print(f"request for {target}")
    url = urllib.parse.urlsplit(target)
    match url.path:
        case "/":
            sink = begin(out, 200)
            await sink.send(f"{os.environ['GREETING']} from {os.environ['POD_NAME']}\n".encode())
            sink.close()
        case "/upper":
            stream, sink = Stream(request.consume()), begin(out, 200)
            while (chunk := await stream.next()) is not None:
                await sink.send(chunk.upper())
            sink.close()
        case "/fetch":
            body = await fetch(urllib.parse.parse_qs(url.query)["host"][0])
            sink = begin(out, 200)
            await sink.send(b"fetched: " + body)
            sink.close()
        case "/panic":
            raise RuntimeError("asked to")
        case _:
            begin(out, 404).close()
    print("served", file=sys.stderr)


def begin(out: ResponseOutparam, status: int) -> Sink:
    """Sends the head of the answer."""
    response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(out, Ok(response))
    return Sink(body)


async def fetch(authority: str) -> bytes:
    """What another server answers."""
    request = OutgoingRequest(Fields())
    request.set_method(Method_Get())
    request.set_scheme(Scheme_Http())
    request.set_authority(authority)
    request.set_path_with_query("/")
    OutgoingBody.finish(request.body(), None)
    stream, whole = Stream((await send(request)).consume()), b""
    while (chunk := await stream.next()) is not None:
        whole += chunk
    return whole
