"""What a visitor gets from the server."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from helpers.server import ADDRESS
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


@contextmanager
def visitors(path: str) -> Iterator[Counter[str]]:
    """Visitors who ask for a path until the block ends, with what they got: how often each HTTP status or error.

    They speak HTTP/1.1, on one connection as long as the server keeps it or, one of them, on a new one each time, and ask no
    second time. Over HTTP/2 nginx refuses requests while it reloads, which browsers repeat by themselves.
    """
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    answers: Counter[str] = Counter()
    over = threading.Event()

    def ask(headers: dict[str, str]) -> None:
        connection = http.client.HTTPSConnection(ADDRESS, context=trusting, timeout=20)
        while not over.is_set():
            try:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                answers[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                answers[repr(error)] += 1
                connection.close()
        connection.close()

    asking = [threading.Thread(target=ask, args=(headers,)) for headers in ({}, {}, {"Connection": "close"})]
    for thread in asking:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in asking:
            thread.join()


def brightness(page: Any, scheme: str) -> int:
    """Brightness of a page's background in a colour scheme, 0 to 765."""
    page.emulate_media(color_scheme=scheme)
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3]))
