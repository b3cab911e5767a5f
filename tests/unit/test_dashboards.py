"""The dashboards: as committed, as Grafana takes them, and asking only for what is measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import dashboards
import pytest

DOCUMENTS = dashboards.documents()
UIDS = {document["uid"] for document in DOCUMENTS.values()}
BUNDLED = {"bargauge", "gauge", "row", "stat", "table", "text", "timeseries"}
# What the scrape jobs and the recording rules give; each name begins with one of these.
FAMILIES = (
    *("ALERTS", "up", "alertmanager_", "container_", "grafana_", "mysql_", "node_", "prometheus_", "probe_"),
    *("nginx_connections_", "nginx_http_requests_total", "nginx_up"),
    *("http_request_duration_seconds_bucket", "http_requests_in_flight", "http_requests_total"),
    *("database_pool_connections", "login_failures_total"),
    *("instance:node_", "instance_mountpoint:node_", "instance:http_", "instance_route:http_"),
    *("instance_name:container_",),
)
RECORDED = {
    "instance:node_cpu_utilisation:ratio",
    "instance:node_memory_utilisation:ratio",
    "instance:node_swap_utilisation:ratio",
    "instance_mountpoint:node_filesystem_utilisation:ratio",
    "instance:http_requests:rate5m",
    "instance_route:http_requests:rate5m",
    "instance:http_request_errors:ratio5m",
    "instance:http_request_duration_seconds:p95_5m",
    "instance_route:http_request_duration_seconds:p95_5m",
    "instance_name:container_cpu_usage:rate1m",
    "instance_name:container_memory_utilisation:ratio",
}
WORDS = {"and", "or", "unless", "bool", "offset"}


def data_panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in document["panels"] if panel["type"] not in ("row", "text")]


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document, at any depth."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(child)


def metrics(expr: str) -> set[str]:
    """The names of metrics: no function, no word of the language, no label, no text and no duration."""
    rest = re.sub(r'"[^"]*"', "", expr)
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", rest)
    rest = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", rest)
    return set(re.findall(r"(?<![\w:$.])[a-zA-Z_:][\w:]*(?![\w:]|\s*\()", rest)) - WORDS


@pytest.fixture(params=sorted(DOCUMENTS))
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DOCUMENTS[request.param]


def test_the_committed_files_are_what_is_built() -> None:
    committed = {file.name: file.read_text() for file in dashboards.DIRECTORY.iterdir()}
    assert committed == dashboards.texts(), "run: make dashboards"


def test_there_are_seven_of_their_own() -> None:
    names = ("overview", "servers", "application", "mysql", "web", "containers", "alerts")
    assert {f"miniweb-{name}" for name in names} == UIDS
    assert len({document["title"] for document in DOCUMENTS.values()}) == len(DOCUMENTS)


def test_it_holds_nothing_that_changes_by_itself(document: dict[str, Any]) -> None:
    assert document["schemaVersion"] == 37
    assert document["editable"] is False
    assert not {"id", "version", "iteration", "elements", "apiVersion"} & set(document)


def test_panels_have_ids_of_their_own_and_a_bundled_type(document: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    assert {panel["type"] for panel in document["panels"]} <= BUNDLED


def test_panels_lie_on_the_grid_and_not_on_each_other(document: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert cells, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_overview_is_one_screen() -> None:
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in DOCUMENTS["overview.json"]["panels"]) <= 24


def test_panels_say_what_they_show(document: dict[str, Any]) -> None:
    for panel in data_panels(document):
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["expr"] for target in panel["targets"])
        letters = [target["refId"] for target in panel["targets"]]
        assert all(letters)
        assert len(set(letters)) == len(letters)


def test_titles_are_unique_among_panels_of_a_kind(document: dict[str, Any]) -> None:
    kinds = [(panel["type"], panel["title"]) for panel in document["panels"]]
    assert len(set(kinds)) == len(kinds)


def test_only_prometheus_is_asked(document: dict[str, Any]) -> None:
    sources = [node["datasource"] for node in nodes(document) if "datasource" in node]
    assert sources
    assert all(source == {"type": "prometheus", "uid": "prometheus"} for source in sources)
    assert all("datasource" in target for panel in data_panels(document) for target in panel["targets"])


def test_links_lead_somewhere(document: dict[str, Any]) -> None:
    tags = {tag for other in DOCUMENTS.values() for tag in other["tags"]}
    assert [link["type"] for link in document["links"]] == ["dashboards"]
    for link in document["links"]:
        assert set(link["tags"]) <= tags
        assert (link["includeVars"], link["keepTime"]) == (True, True)
    assert all(set(document["links"][0]["tags"]) <= set(other["tags"]) for other in DOCUMENTS.values())
    for panel in document["panels"]:
        for link in panel.get("links", []):
            address = re.fullmatch(r"/d/([\w-]+)\?\$\{__url_time_range\}&\$\{__all_variables\}", link["url"])
            assert address, link["url"]
            assert address[1] in UIDS


def test_variables_are_used_and_known(document: dict[str, Any]) -> None:
    variables = {variable["name"] for variable in document["templating"]["list"]}
    assert "instance" in variables
    used = {name for title, expr in dashboards.queries(document) for name in re.findall(r"\$(\w+)", expr)}
    assert used - set(dashboards.EXAMPLES) - variables == set()
    assert variables <= used


def test_the_overview_shows_the_state_of_every_part() -> None:
    titles = {panel["title"] for panel in DOCUMENTS["overview.json"]["panels"]}
    assert {"Site", "nginx", "Application", "MySQL", "Host", "Alertmanager", "Alerts firing", "Certificate"} <= titles


def test_deployments_are_marked(document: dict[str, Any]) -> None:
    (annotation,) = document["annotations"]["list"]
    assert annotation["useValueForTime"] is True
    assert annotation["expr"] == annotation["target"]["expr"]
    assert annotation["expr"].endswith(" * 1000"), "Grafana counts milliseconds"


def test_expressions_are_complete() -> None:
    found = dashboards.expressions()
    assert {expression.dashboard for expression in found} == UIDS
    assert not [expression for expression in found if "$" in expression.expr]
    assert ("miniweb-web", "variable site", "probe_success") in found
    (chosen,) = [
        expression.expr
        for expression in dashboards.expressions({"instance": "www", "__rate_interval": "2m"})
        if (expression.dashboard, expression.panel) == ("miniweb-servers", "CPU usage")
    ]
    assert chosen == '100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{instance=~"www", mode="idle"}[2m])))'


def test_names_of_metrics_are_found() -> None:
    expr = 'topk(10, sum by (a, b) (rate(x_total{c="d"}[5m])) > 0) or job:y:ratio{e=~"f.*"} / on (g) group_left () z'
    assert metrics(expr) == {"x_total", "job:y:ratio", "z"}
    assert metrics("time() - max(node_boot_time_seconds) + 1e-9") == {"node_boot_time_seconds"}


def test_only_what_is_measured_is_asked_for() -> None:
    for expression in dashboards.expressions():
        names = metrics(expression.expr)
        assert names, expression
        for name in names:
            assert name.startswith(FAMILIES), (name, expression)
            assert ":" not in name or name in RECORDED, (name, expression)
