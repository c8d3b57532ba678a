"""What a worker answers while it runs: GET /healthz and GET /progress on the status port."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from torchyard.api.contract import WorkerProgress

Newest = Callable[[], WorkerProgress | None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    newest: Newest


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        match self.path:
            case "/healthz":
                self._answer(HTTPStatus.OK, "text/plain", b"ok\n")
            case "/progress":
                progress = self.server.newest()
                if progress is None:
                    self._answer(HTTPStatus.NO_CONTENT, "application/json", b"")
                else:
                    body = progress.model_dump_json(by_alias=True, exclude_none=True).encode()
                    self._answer(HTTPStatus.OK, "application/json", body)
            case _:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/healthz or /progress\n")

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        if body:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the operator asks every few seconds."""


@contextmanager
def serve(host: str, port: int, newest: Newest) -> Iterator[None]:
    """Answer in threads of their own while the block runs; an empty host is every address."""
    dual = host == "" and socket.has_dualstack_ipv6()
    server = _Server((host, port), _Handler, bind_and_activate=False)
    if dual:
        server.socket.close()
        server.socket = socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=16
        )
    else:
        server.server_bind()
        server.server_activate()
    server.newest = newest
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
