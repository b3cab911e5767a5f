"""Grafana's dashboards, built with its own SDK and committed as JSON: `make dashboards` writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import alerts, application, containers, host, mysql, overview, web

DIRECTORY = Path(__file__).resolve().parents[2] / "roles/grafana/files/dashboards"
# The schema of Grafana 9.4, which every later one brings up to its own.
SCHEMA_VERSION = 37
DEPLOYMENTS = 'container_start_time_seconds{instance=~"$instance", name=~"miniweb-app-.*"} * 1000'
# What Grafana puts in place of its own variables, for a query outside of it.
EXAMPLES = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h", "interval": "5m"}


class Expression(NamedTuple):
    dashboard: str
    panel: str
    expr: str


def documents() -> dict[str, dict[str, Any]]:
    """The dashboards by the names of their files."""
    parts = (overview, host, application, mysql, web, containers, alerts)
    built = [_finished(json.loads(json.dumps(part.build().build(), cls=JSONEncoder))) for part in parts]
    return {f"{document['uid'].removeprefix('miniweb-')}.json": document for document in built}


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """The SDK does not know all that Grafana documents, and knows what it no longer does."""
    del document["style"]
    for variable in document["templating"]["list"]:
        del variable["id"]
        if variable["type"] == "query":
            variable["definition"] = variable["query"]["query"]
    source = {"type": "prometheus", "uid": "prometheus"}
    annotation = {
        "name": "Deployments",
        "datasource": source,
        "enable": True,
        "hide": False,
        "iconColor": "purple",
        "titleFormat": "Application started",
        "textFormat": "{{name}} on {{instance}}",
        "tagKeys": "instance,name",
        "useValueForTime": True,
        "step": "60s",
        # Grafana 9 and 10 read the one, later ones the other.
        "expr": DEPLOYMENTS,
        "target": {"refId": "Deployments", "datasource": source, "expr": DEPLOYMENTS, "interval": "60s", "range": True},
    }
    return document | {"schemaVersion": SCHEMA_VERSION, "annotations": {"list": [annotation]}}


def texts() -> dict[str, str]:
    """What stands in the files."""
    return {
        name: json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, document in documents().items()
    }


def write() -> None:
    wanted = texts()
    for file in DIRECTORY.glob("*.json"):
        if file.name not in wanted:
            file.unlink()
    for name, text in wanted.items():
        (DIRECTORY / name).write_text(text)


def expressions(values: Mapping[str, str] | None = None) -> list[Expression]:
    """Every query of every panel, annotation and variable, with values in place of variables.

    A variable of a dashboard has the value that stands for all, unless another is given.
    """
    found: list[Expression] = []
    for document in documents().values():
        alls = {
            variable["name"]: variable["allValue"]
            for variable in document["templating"]["list"]
            if "allValue" in variable
        }
        found += [
            Expression(document["uid"], title, replaced(expr, {**EXAMPLES, **alls, **(values or {})}))
            for title, expr in queries(document)
        ]
    return found


def queries(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The title of each panel, annotation or variable, and its queries as they stand."""
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in document["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            series = re.fullmatch(r"label_values\((.+), \w+\)", variable["definition"])
            if not series:
                raise ValueError(
                    f"variable {variable['name']} has the query {variable['definition']}: use label_values"
                )
            yield f"variable {variable['name']}", series[1]


def replaced(expr: str, values: Mapping[str, str]) -> str:
    """The expression with values in place of `$name`; one without a value is an error."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)
