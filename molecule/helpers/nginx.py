"""nginx in its own scenario: the upstream behind it, and its log."""

from __future__ import annotations

import json
from typing import Any

from testinfra.host import Host

from helpers.server import default_of
from helpers.service import Service

NGINX = Service("nginx")
SITE = {"name": "administration", "port": 3000, "upstream": "http://upstream:8000"}
IMAGE = default_of("flask_app", "flask_app_base_image")

# Answers with what it received, and sends the first line of a WebSocket upgrade.
UPSTREAM = """
import http.server, json, os, ssl, threading
RELEASED = threading.Event()
# Less than the 5 s after which nginx would let a second request for the same file pass
MEETING = threading.Barrier(2, timeout=4)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Upgrade") == "websocket" and self.headers.get("Connection") == "upgrade":
            self.send_response(101); self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade"); self.end_headers(); return
        if self.path == "/live/":
            self.send_response(200); self.send_header("Connection", "close"); self.end_headers()
            self.wfile.write(b"data: first" + bytes([10])); self.wfile.flush()
            self.wfile.write(b"data: released" if RELEASED.wait(20) else b"data: nobody came"); return
        if self.path == "/release": RELEASED.set()
        if "meeting" in self.path:
            try: MEETING.wait()
            except threading.BrokenBarrierError: self.send_error(500); return
        if self.path == "/large":
            self.send_response(200); self.send_header("Content-Length", str(300 << 20)); self.end_headers()
            for part in range(300): self.wfile.write(bytes(1 << 20))
            return
        body = json.dumps({"path": self.path, "headers": dict(self.headers),
                           "connection": self.client_address,
                           "tls": isinstance(self.connection, ssl.SSLSocket), "padding": "x" * 2000}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html" if self.path == "/page" else "application/json")
        self.send_header("Cache-Control", "no-store" if "no-store" in self.path else "public, max-age=60")
        if "cookie" in self.path: self.send_header("Set-Cookie", "a=b")
        if "accel" in self.path: self.send_header("X-Accel-Redirect", "/checked/a note.html")
        if "cors" in self.path:
            for name in ("Allow-Origin", "Allow-Methods", "Allow-Headers", "Expose-Headers", "Allow-Credentials"):
                self.send_header("Access-Control-" + name, "*")
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
server = http.server.ThreadingHTTPServer(("", 8000), Handler)
if "CERTIFICATE" in os.environ:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    open("/tmp/both.pem", "w").write(os.environ["CERTIFICATE"])
    context.load_cert_chain("/tmp/both.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def run_upstream(host: Host) -> None:
    host.run("docker rm --force upstream")
    host.check_output("docker run --detach --name upstream --network miniweb-edge %s python3 -c %s", IMAGE, UPSTREAM)
    host.check_output("docker network connect miniweb-monitor upstream")
    wait = "for i in $(seq 60); do curl -skf https://localhost/ready && exit 0; sleep 0.5; done; exit 1"
    assert host.run(wait).rc == 0


def logged(host: Host, mark: str) -> list[dict[str, Any]]:
    """The requests in nginx's log whose path has a mark; each line must be JSON."""
    lines = host.check_output(
        "docker logs --since 5m %s 2> /dev/null | grep --fixed-strings %s || true", NGINX.container(host), mark
    )
    return [json.loads(line) for line in lines.splitlines()]
