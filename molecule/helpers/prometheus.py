"""What the scenario's Prometheus answers to an administrator."""

from __future__ import annotations

from typing import Any

from helpers.server import ADDRESS
from helpers.web import json_from

URL = f"https://{ADDRESS}:9090/api/v1"


def ask(path: str, **parameters: str) -> Any:
    """The data of an answer of its API."""
    words = [word for name, value in parameters.items() for word in ("--data-urlencode", f"{name}={value}")]
    answer = json_from("-G", *words, f"{URL}/{path}")
    assert answer["status"] == "success", (path, parameters, answer)
    return answer["data"]


def query(expression: str) -> list[dict[str, Any]]:
    """The series of an expression; those of a target that was restarted are missing until the next scrape."""
    found: list[dict[str, Any]] = ask("query", query=expression)["result"]
    return found


def values(expression: str, label: str) -> dict[str, str]:
    """The values of an expression, by a label."""
    return {one["metric"][label]: one["value"][1] for one in query(expression)}
