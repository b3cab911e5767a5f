"""The messages that the receiver, a test double, has received."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from testinfra.host import Host


@dataclass(frozen=True)
class Receiver:
    """A container on the server that receives messages over HTTP and SMTP; see tests/doubles/receiver.py."""

    host: Host

    def messages(self, to: str, word: str = "") -> list[dict[str, Any]]:
        """The messages to this address that contain this word."""
        program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/got').read().decode())"
        found = json.loads(self.host.check_output("docker exec receiver python3 -c %s", program))
        return [message for message in found if to in message["to"] and word in message["body"]]
