"""The dashboards: they are as committed, Grafana accepts them, and they query only what is measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import dashboards
import pytest

DOCUMENTS = dashboards.documents()
UIDS = {document["uid"] for document in DOCUMENTS.values()}
BUNDLED = {"bargauge", "gauge", "row", "stat", "table", "text", "timeseries"}
# The prefixes of the metric names that each dashboard queries, as its source declares them.
METRICS = {DOCUMENTS[source.file]["uid"]: source.module.METRICS for source in dashboards.sources()}
# What the rules of all roles record.
RECORDED = {
    name
    for rules in dashboards.ROOT.glob("roles/*/templates/rules.yml.j2")
    for name in re.findall(r"^ *- record: (\S+)$", rules.read_text(), re.MULTILINE)
}
OVERVIEW = DOCUMENTS["roles/grafana/files/dashboards/overview.json"]
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
    """The names of metrics, without functions, keywords, labels, strings and durations.

    A pattern for names gives its alternatives.
    """
    patterns = {part for pattern in re.findall(r'__name__=~"([^"]*)"', expr) for part in pattern.split("|")}
    rest = re.sub(r'"[^"]*"', "", expr)
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", rest)
    rest = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", rest)
    return patterns | set(re.findall(r"(?<![\w:$.])[a-zA-Z_:][\w:]*(?![\w:]|\s*\()", rest)) - WORDS


@pytest.fixture(params=sorted(DOCUMENTS))
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DOCUMENTS[request.param]


def test_the_committed_files_are_what_is_built() -> None:
    assert dashboards.committed() == dashboards.texts(), "run: make dashboards"


def test_uids_and_titles_are_unique() -> None:
    assert len(UIDS) == len(DOCUMENTS)
    assert all(re.fullmatch(r"miniweb-[a-z-]+", uid) for uid in UIDS)
    assert len({document["title"] for document in DOCUMENTS.values()}) == len(DOCUMENTS)


def test_it_holds_nothing_that_grafana_changes(document: dict[str, Any]) -> None:
    assert document["schemaVersion"] == 37
    assert document["editable"] is False
    assert not {"id", "version", "iteration", "elements", "apiVersion"} & set(document)


def test_panels_have_ids_of_their_own_and_a_bundled_type(document: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    assert {panel["type"] for panel in document["panels"]} <= BUNDLED


def test_panels_are_on_the_grid_and_do_not_overlap(document: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert cells, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_overview_is_one_screen() -> None:
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in OVERVIEW["panels"]) <= 24


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


def test_only_prometheus_is_queried(document: dict[str, Any]) -> None:
    sources = [node["datasource"] for node in nodes(document) if "datasource" in node]
    assert sources
    assert all(source == {"type": "prometheus", "uid": "prometheus"} for source in sources)
    assert all("datasource" in target for panel in data_panels(document) for target in panel["targets"])


def test_what_is_said_of_an_empty_table_is_in_no_cell() -> None:
    tables = [panel for document in DOCUMENTS.values() for panel in data_panels(document) if panel["type"] == "table"]
    assert tables
    for panel in tables:
        (columns,) = (one["options"]["renameByName"] for one in panel["transformations"] if one["id"] == "organize")
        labels = {title for name, title in columns.items() if not name.startswith("Value")}
        own = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            if any(one["id"] == "noValue" for one in override["properties"])
        }
        assert labels <= own, panel["title"]


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
    used = {name for title, expr in dashboards.queries(document) for name in dashboards.VARIABLE.findall(expr)}
    assert used - set(dashboards.EXAMPLES) - variables == set()
    assert variables <= used


def test_the_overview_shows_the_state_of_every_service() -> None:
    (state,) = [panel for panel in OVERVIEW["panels"] if "repeat" in panel]
    assert (state["title"], state["repeat"], state["gridPos"]["w"]) == ("$service", "service", 24)
    assert 'job=~"$service"' in state["targets"][0]["expr"]
    (service,) = [one for one in OVERVIEW["templating"]["list"] if one["name"] == "service"]
    assert (service["hide"], service["includeAll"], service["multi"]) == (2, True, True)
    titles = {panel["title"] for panel in OVERVIEW["panels"]}
    assert {"Site", "Traffic", "Errors", "CPU", "Alerts firing", "Certificate"} <= titles


def test_dashboards_about_all_services_name_none_of_their_jobs() -> None:
    for source in dashboards.sources():
        if source.role == "grafana":
            for title, expr in dashboards.queries(DOCUMENTS[source.file]):
                assert set(re.findall(r'job[=!~]+"([^"]*)"', expr)) <= {"$service"}, (source.name, title, expr)


def test_several_applications_are_told_apart() -> None:
    document = DOCUMENTS["roles/flask_app/files/dashboards/application.json"]
    for panel in data_panels(document):
        for target in panel["targets"]:
            assert target["expr"].count("{") == target["expr"].count('job=~"$job"'), panel["title"]


def test_deployments_are_marked(document: dict[str, Any]) -> None:
    (annotation,) = document["annotations"]["list"]
    assert annotation["useValueForTime"] is True
    assert annotation["expr"] == annotation["target"]["expr"]
    assert annotation["expr"].endswith(" * 1000"), "Grafana expects milliseconds"


def test_expressions_are_complete() -> None:
    found = dashboards.expressions()
    assert {expression.dashboard for expression in found} == UIDS
    assert not [expression for expression in found if dashboards.VARIABLE.search(expression.expr)]
    assert ("miniweb-sites", "variable site", "probe_success") in found
    assert ("miniweb-application", "State", 'min(up{job=~".+", instance=~".+"})') in found
    (chosen,) = [
        expression.expr
        for expression in dashboards.expressions({"instance": "www", "__rate_interval": "2m"})
        if (expression.dashboard, expression.panel) == ("miniweb-host", "CPU usage")
    ]
    assert chosen == '100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{instance=~"www", mode="idle"}[2m])))'


def test_names_of_metrics_are_found() -> None:
    expr = 'topk(10, sum by (a, b) (rate(x_total{c="d"}[5m])) > 0) or job:y:ratio{e=~"f.*"} / on (g) group_left () z'
    assert metrics(expr) == {"x_total", "job:y:ratio", "z"}
    assert metrics('min({__name__=~"up|[a-z]+_up", job="a"})') == {"up", "[a-z]+_up"}
    assert metrics("time() - max(node_boot_time_seconds) + 1e-9") == {"node_boot_time_seconds"}


def test_only_known_metrics_are_queried() -> None:
    """Whether each of them is really measured is tested on the whole system."""
    assert RECORDED
    used = set()
    for expression in dashboards.expressions():
        known = METRICS[expression.dashboard] + dashboards.DEPLOYMENTS_METRICS
        names = metrics(expression.expr)
        assert names, expression
        for name in names:
            assert name.startswith(known), (name, expression)
            assert ":" not in name or name in RECORDED, (name, expression)
            used |= {(expression.dashboard, begin) for begin in known if name.startswith(begin)}
    assert {(uid, begin) for uid, begins in METRICS.items() for begin in begins} <= used
