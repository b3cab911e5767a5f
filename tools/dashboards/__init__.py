"""Grafana's dashboards, built with its own SDK and committed as JSON: `make dashboards` writes them.

Each is a file `roles/<role>/dashboards/<name>.py` in the role that it is about. It defines a function `build`, and
`METRICS`, the prefixes of the metrics that it queries.
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
# The schema of Grafana 9.4, which every later version migrates to its own.
SCHEMA_VERSION = 37
# Services that have a scrape job of their own name; the other containers belong to them.
DEPLOYMENTS = (
    '(container_start_time_seconds{instance=~"$instance"} and on (instance, name)'
    ' label_replace(up{monitoring!="true"}, "name", "miniweb-$1-$1-1", "job", "(.+)")) * 1000'
)
DEPLOYMENTS_METRICS = ("container_start_time_seconds", "up")
# Values for Grafana's own variables, for queries outside Grafana.
EXAMPLES = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h", "interval": "5m"}
VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")


class Source(NamedTuple):
    """A dashboard's source: its role, its name, and what it defines."""

    role: str
    name: str
    module: Any

    @property
    def file(self) -> str:
        """The path of its JSON, relative to the collection."""
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
    """The dashboards by the paths of their files, relative to the collection."""
    return {
        source.file: _finished(json.loads(json.dumps(source.module.build().build(), cls=JSONEncoder)))
        for source in sources()
    }


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """Add what Grafana documents and the SDK lacks, and remove what Grafana no longer uses."""
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
        # Grafana 9 and 10 read expr, later versions target.
        "expr": DEPLOYMENTS,
        "target": {"refId": "Deployments", "datasource": source, "expr": DEPLOYMENTS, "interval": "60s", "range": True},
    }
    return document | {"schemaVersion": SCHEMA_VERSION, "annotations": {"list": [annotation]}}


def texts() -> dict[str, str]:
    """The contents that the files should have."""
    return {
        name: json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, document in documents().items()
    }


def committed() -> dict[str, str]:
    """The contents that the files have now."""
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
    """Every query of every panel, annotation and variable, with values substituted for variables.

    A dashboard's variable has its "All" value unless another is given.
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
    """The title of each panel, annotation or variable, with each of its queries as written."""
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
    """Substitute values for `$name` in the expression; a variable without a value is an error."""
    return VARIABLE.sub(lambda found: values[found[1]], expr)
