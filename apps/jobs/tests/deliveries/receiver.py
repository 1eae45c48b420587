"""A receiver of webhooks: another system, on a port of its own, in this process."""

import asyncio
import hashlib
import hmac
import json
import queue
import threading
from base64 import b64encode
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

PATIENCE = 60
"""Seconds within which whatever a test waits for must have happened."""

REFUSED: tuple[int, dict[str, str]] = (500, {})
"""An answer: a status, and headers."""


@dataclass(frozen=True)
class Received:
    """One request to the receiver."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """What all requests of a delivery have in common."""
        return self.headers["webhook-id"]

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever was published
        """The event's payload."""
        return json.loads(self.body)["data"]

    def is_signed_with(self, secret: bytes) -> bool:
        """Check as a receiver does."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
        return self.headers["webhook-signature"] == f"v1,{digest}"


class Receiver(ThreadingHTTPServer):
    """Another system, on a port of its own."""

    def __init__(self) -> None:
        """Accept everything, unless told otherwise."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: queue.Queue[Received] = queue.Queue()
        self.answers: list[tuple[int, dict[str, str]]] = []
        """What the next requests are answered with, before all others are accepted."""
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.effects: set[str] = set()
        """What it has done: once for each id, as receivers of webhooks should."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_answer.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}/webhooks"

    async def next_request(self) -> Received:
        """Wait for a request."""
        return await asyncio.to_thread(self.requests.get, timeout=PATIENCE)

    def received(self) -> list[Received]:
        """Take all requests that have come."""
        return [self.requests.get() for _ in range(self.requests.qsize())]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = cast("Receiver", self.server)
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # the sender was killed
        received = Received({name.lower(): value for name, value in self.headers.items()}, body)
        receiver.requests.put(received)
        status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
        receiver.may_answer.wait(PATIENCE)
        if status == 200:
            receiver.effects.add(received.id)
        self.send_response(status)
        for name, value in {"content-length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        """Keep quiet."""
