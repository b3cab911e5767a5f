"""Grafana's dashboards, built with its own SDK and committed as JSON: `make dashboards` writes them.

Each is a file `roles/<role>/dashboards/<name>.py` in the role that it is about. It has a function `build`, and `METRICS`:
how the names of the metrics begin that it asks for.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from grafana_foundation_sdk.cog.encoder import JSONEncoder

ROOT = Path(__file__).resolve().parents[2]
# The schema of Grafana 9.4, which every later one brings up to its own.
SCHEMA_VERSION = 37
# Services that Prometheus measures under their own name: the rest of the containers belongs to them.
DEPLOYMENTS = (
    '(container_start_time_seconds{instance=~"$instance"} and on (instance, name)'
    ' label_replace(up{monitoring!="true"}, "name", "miniweb-$1-$1-1", "job", "(.+)")) * 1000'
)
DEPLOYMENTS_METRICS = ("container_start_time_seconds", "up")
# What Grafana puts in place of its own variables, for a query outside of it.
EXAMPLES = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h", "interval": "5m"}
VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")


class Source(NamedTuple):
    """A dashboard's source: its role, its name, and what it defines."""

    role: str
    name: str
    module: Any

    @property
    def file(self) -> str:
        """Where its JSON is, below the collection."""
        return f"roles/{self.role}/files/dashboards/{self.name}.json"


class Expression(NamedTuple):
    dashboard: str
    panel: str
    expr: str


@cache
def sources() -> list[Source]:
    found = []
    for file in sorted(ROOT.glob("roles/*/dashboards/*.py")):
        role = file.parts[-3]
        spec = importlib.util.spec_from_file_location(f"dashboards.{role}.{file.stem}", file)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append(Source(role, file.stem, module))
    return found


def documents() -> dict[str, dict[str, Any]]:
    """The dashboards by their files, as paths below the collection."""
    return {
        source.file: _finished(json.loads(json.dumps(source.module.build().build(), cls=JSONEncoder)))
        for source in sources()
    }


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """The SDK does not know all that Grafana documents, and knows what it no longer does."""
    del document["style"]
    for variable in document["templating"]["list"]:
        del variable["id"]
        if variable["type"] == "query":
            variable["definition"] = variable["query"]["query"]
    for panel in document["panels"]:
        if "repeat" in panel:
            panel["maxPerRow"] = 8
    source = {"type": "prometheus", "uid": "prometheus"}
    annotation = {
        "name": "Deployments",
        "datasource": source,
        "enable": True,
        "hide": False,
        "iconColor": "purple",
        "titleFormat": "Service started",
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


def committed() -> dict[str, str]:
    """What stands in the files now."""
    return {
        file.relative_to(ROOT).as_posix(): file.read_text()
        for file in sorted(ROOT.glob("roles/*/files/dashboards/*.json"))
    }


def write() -> None:
    wanted = texts()
    for name in committed():
        if name not in wanted:
            (ROOT / name).unlink()
    for name, text in wanted.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text)


def expressions(values: Mapping[str, str] | None = None) -> list[Expression]:
    """Every query of every panel, annotation and variable, with values in place of variables.

    A variable of a dashboard has the value that stands for all, unless another is given.
    """
    found: list[Expression] = []
    for document in documents().values():
        alls = {
            variable["name"]: variable.get("allValue", ".+")
            for variable in document["templating"]["list"]
            if variable["type"] == "query"
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
    return VARIABLE.sub(lambda found: values[found[1]], expr)
