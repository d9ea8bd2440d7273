"""A web server on loopback that misbehaves as real ones do: no ranges, cut connections, replaced files, refusals."""

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file, and how the server answers a request for it."""

    body: bytes
    status: int = 200
    ranges: bool = True  # honour Range
    conditions: bool = True  # honour If-Range
    etag: str | None = "hash"  # "hash": of the body
    modified: str | None = None
    length: bool = True  # send Content-Length
    kind: str = "application/octet-stream"
    # For each of the next answers: the bytes that are sent before the connection breaks.
    cuts: list[int] = field(default_factory=list)
    fails: list[int] = field(default_factory=list)  # statuses of the next answers, before the file is sent
    to: str | None = None  # redirect
    extra: dict[str, str] = field(default_factory=dict)
    slow: threading.Event | None = None  # half of the body is sent, then the server waits for this


class Server:
    """``files`` by path, and the requests for them: ``asked``, (method, path, headers) each."""

    def __init__(self, port: int) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.sent = 0  # bytes of bodies
        self.url = f"http://127.0.0.1:{port}"

    def put(self, path: str, body: bytes, **options) -> str:
        """Serve ``body`` at ``path``; returns its address."""
        self.files[path] = Served(body, **options)
        return f"{self.url}{path}"

    def gets(self, path: str) -> list[dict[str, str]]:
        return [headers for method, asked, headers in self.asked if method == "GET" and asked == path]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server in threads of this process, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_HEAD(self) -> None:
            _answer(self, server)

        do_GET = do_HEAD

        def log_message(self, *_) -> None: ...

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.handle_error = lambda *_: None  # a client that went away
    server = Server(httpd.server_address[1])
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def _answer(handler: BaseHTTPRequestHandler, server: Server) -> None:
    asked = dict(handler.headers)
    server.asked.append((handler.command, handler.path, asked))
    served = server.files.get(handler.path) or Served(b"no such file", status=404)
    body, status, headers = served.body, served.status, dict(served.extra)
    if served.fails and handler.command == "GET":
        status, body = served.fails.pop(0), b"busy"
    if served.to:
        status, headers["Location"], body = 302, served.to, b""
    if status == 200:
        etag = f'"{hashlib.md5(body).hexdigest()}"' if served.etag == "hash" else served.etag
        headers |= {"ETag": etag} if etag else {}
        headers |= {"Last-Modified": served.modified} if served.modified else {}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("Range", "")) if served.ranges else None
        same = asked.get("If-Range") in (None, etag, served.modified) or not served.conditions
        if span and same:
            start, total = int(span[1]), len(body)
            if start >= total:
                status, body, headers["Content-Range"] = 416, b"", f"bytes */{total}"
            else:
                body = body[start : int(span[2]) + 1 if span[2] else total]
                status, headers["Content-Range"] = 206, f"bytes {start}-{start + len(body) - 1}/{total}"
    handler.send_response(status)
    for key, value in ({"Content-Type": served.kind} | headers).items():
        handler.send_header(key, value)
    if served.length:
        handler.send_header("Content-Length", str(len(body)))
    else:
        handler.send_header("Connection", "close")
        handler.close_connection = True
    handler.end_headers()
    if handler.command == "HEAD":
        return
    cut = served.cuts.pop(0) if served.cuts and status in (200, 206) else None
    sent = body if cut is None else body[:cut]
    with contextlib.suppress(ConnectionError):
        if served.slow:
            handler.wfile.write(sent[: len(sent) // 2])
            handler.wfile.flush()
            served.slow.wait(30)
            sent = sent[len(sent) // 2 :]
        handler.wfile.write(sent)
        server.sent += len(sent)
    if cut is not None:
        handler.close_connection = True
