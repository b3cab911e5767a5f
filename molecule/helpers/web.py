"""What a visitor gets from the server."""

from __future__ import annotations

import re
import subprocess
from typing import Any


def curl(*words: str) -> str:
    """What a browser that accepts the self-signed certificate gets; empty if there was no answer."""
    command = ["curl", "--silent", "--insecure", "--max-time", "20", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def status(*words: str) -> str:
    """The HTTP status; 000 if there was no answer."""
    return curl("--output", "/dev/null", "--write-out", "%{http_code}", *words)


def brightness(page: Any, scheme: str) -> int:
    """Brightness of a page's background in a colour scheme, 0 to 765."""
    page.emulate_media(color_scheme=scheme)
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3]))
