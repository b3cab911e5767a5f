"""What a visitor gets from the server."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from helpers.waiting import eventually


def curl(*words: str) -> str:
    """What a browser that accepts the self-signed certificate gets; empty if there was no answer."""
    command = ["curl", "--silent", "--insecure", "--max-time", "20", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def json_from(*words: str) -> Any:
    """What a site answers in JSON. While it does not, its service may have just been restarted, so it is asked again."""
    found: list[Any] = []

    def answered() -> bool:
        try:
            found.append(json.loads(curl(*words)))
        except json.JSONDecodeError:
            return False
        return True

    assert eventually(answered), f"no JSON from {words[-1]}"
    return found[-1]


def status(*words: str) -> str:
    """The HTTP status; 000 if there was no answer."""
    return curl("--output", "/dev/null", "--write-out", "%{http_code}", *words)


def brightness(page: Any, scheme: str) -> int:
    """Brightness of a page's background in a colour scheme, 0 to 765."""
    page.emulate_media(color_scheme=scheme)
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3]))
