"""Takes what is sent to it over HTTP and SMTP, and shows it at /got: recipient, login, time and body."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import time

got: list[dict[str, object]] = []


class Http(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        got.append({"to": self.path, "login": self.headers.get("Authorization"), "at": time.time(), "body": body})
        self.answer("ok")

    def do_GET(self) -> None:
        self.answer(json.dumps(got))

    def answer(self, body: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


class Smtp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 receiver\r\n")
        to: list[str] = []
        hello = ""
        for line in self.rfile:
            word = line[:4].upper()
            if word in (b"EHLO", b"HELO"):
                hello = line[5:].decode().strip()
            if word == b"RCPT":
                to.append(line.decode().strip())
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                body = b"".join(iter(self.rfile.readline, b".\r\n")).decode()
                got.append({"to": " ".join(to), "login": None, "hello": hello, "at": time.time(), "body": body})
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 receiver\r\n")
            if word == b"QUIT":
                break


if __name__ == "__main__":
    threading.Thread(target=socketserver.ThreadingTCPServer(("", 2525), Smtp).serve_forever).start()
    http.server.ThreadingHTTPServer(("", 8000), Http).serve_forever()
