"""A double of the Docker engine on a unix socket, for the programs that roles put on a server."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import socketserver
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
VERSION = "1.51"
Reply = tuple[int, str]


def install(role: str, program: str, directory: Path, *further: str) -> Path:
    """Put a role's program beside what it shares with others, as the role does on a server."""
    shared = [ROOT / "plugins" / "module_utils" / name for name in ("docker_engine.py", *further)]
    for source in (*shared, ROOT / "roles" / role / "files" / program):
        shutil.copy(source, directory)
    return directory / program


def identifier(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class DockerEngine(socketserver.ThreadingUnixStreamServer):
    """Its containers, and the requests it received. Subclasses add further answers."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.path = path
        self.containers: list[dict[str, Any]] = []
        self.gone: set[tuple[str, str]] = set()
        self.fails: dict[str, Reply] = {}
        self.asked: list[str] = []

    def reply(self, method: str, path: str, query: dict[str, str]) -> Reply:
        """Status and body, as the engine itself would return them."""
        for part, failure in self.fails.items():
            if part in path:
                return failure
        if path == "/_ping":
            return 200, "OK"
        version, *words = path.strip("/").split("/")
        assert version == f"v{VERSION}"
        if words[0] == "containers" and len(words) == 3:
            return self.reply_about(method, words[1], words[2], query)
        return self.reply_otherwise(method, words, query)

    def reply_about(self, method: str, which: str, what: str, query: dict[str, str]) -> Reply:
        """Reply about the container with this id, id prefix or name."""
        found = [one for one in self.containers if one["Id"].startswith(which) or one["Name"] == f"/{which}"]
        if not found or (found[0]["Id"], what) in self.gone:
            return 404, json.dumps({"message": f"No such container: {which}"})
        if (method, what) == ("GET", "json"):
            return 200, json.dumps(found[0])
        return self.reply_otherwise(method, ["containers", found[0]["Id"], what], query)

    def reply_otherwise(self, method: str, words: list[str], query: dict[str, str]) -> Reply:
        raise NotImplementedError((method, words, query))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DockerEngine

    def do_GET(self) -> None:
        self.server.asked.append(self.path if self.command == "GET" else f"{self.command} {self.path}")
        url = urllib.parse.urlsplit(self.path)
        status, body = self.server.reply(self.command, url.path, dict(urllib.parse.parse_qsl(url.query)))
        self.send_response(status)
        self.send_header("Api-Version", VERSION)
        if status != 204:
            self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_DELETE = do_GET

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *words: Any) -> None:
        pass


Server = TypeVar("Server", bound=socketserver.BaseServer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve requests until the block is left."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
