"""container_metrics.py, run as the server runs it, against a double of the engine on a unix socket."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_engine_double import DockerEngine, Reply, identifier, install, serving
from prometheus_client.parser import text_string_to_metric_families

SCRAPED = "container_scrape_timestamp_seconds"
OOM_EVENTS = "container_oom_events_total"
NETWORKS = {"eth0": {"rx_bytes": 1000, "tx_bytes": 10}, "eth1": {"rx_bytes": 500, "tx_bytes": 5}}
TRANSFERS = [
    {"major": 8, "minor": 0, "op": "Read", "value": 4096},
    {"major": 8, "minor": 0, "op": "Write", "value": 100},
    {"major": 8, "minor": 16, "op": "Write", "value": 200},
    {"major": 8, "minor": 0, "op": "Total", "value": 4396},
]
NO_STATS = {
    "read": "0001-01-01T00:00:00Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 0}},
    "memory_stats": {},
    "blkio_stats": {"io_service_bytes_recursive": None},
}


def container(name: str = "app", health: str | None = "healthy", limit: int = 1 << 26, **state: Any) -> dict[str, Any]:
    """What the engine reports about one container."""
    found = {"Running": True, "Restarting": False, "StartedAt": "2026-07-01T12:00:00.123456789Z", **state}
    if health:
        found["Health"] = {"Status": health, "FailingStreak": 0, "Log": []}
    return {
        "Id": identifier(name),
        "Name": f"/{name}",
        "RestartCount": 2,
        "State": found,
        "HostConfig": {"Memory": limit},
    }


def statistics(**changes: Any) -> dict[str, Any]:
    """What the engine counts for one container, on a server with cgroup v2."""
    return {
        "read": "2026-07-01T12:30:00.5Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "memory_stats": {"usage": 30_000_000, "stats": {"inactive_file": 10_000_000, "file": 20_000_000}},
        "networks": NETWORKS,
        "blkio_stats": {"io_service_bytes_recursive": [{**one, "op": one["op"].lower()} for one in TRANSFERS[:3]]},
        **changes,
    }


class Engine(DockerEngine):
    """Counts for its containers, and remembers events."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.statistics: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[int, str]] = []

    def add(self, described: dict[str, Any], counted: dict[str, Any] | None = None) -> None:
        self.containers.append(described)
        self.statistics[described["Id"]] = counted or statistics()

    def oom(self, name: str, moment: int | None = None) -> None:
        """Record an OOM kill in the container, now or at a time in nanoseconds since 1970."""
        self.events.append((time.time_ns() if moment is None else moment, name))

    def reply_otherwise(self, method: str, words: list[str], query: dict[str, str]) -> Reply:
        assert method == "GET"
        if words == ["containers", "json"]:
            assert query == {"all": "true"}
            return 200, json.dumps([{"Id": found["Id"], "Names": [found["Name"]]} for found in self.containers])
        if words == ["events"]:
            return self.reply_events(query)
        dummy, which, what = words
        assert (what, query) == ("stats", {"stream": "false", "one-shot": "true"})
        return 200, json.dumps(self.statistics[which]) + "\n"

    def reply_events(self, query: dict[str, str]) -> Reply:
        assert json.loads(query["filters"]) == {"type": ["container"], "event": ["oom"]}
        since, until = (int(query[key].replace(".", "")) * 10**6 for key in ("since", "until"))
        if since > until:
            return 400, '{"message":"`since` cannot be after `until`"}'
        lines = [
            json.dumps({"Action": "oom", "Actor": {"Attributes": {"name": name}}, "timeNano": moment}) + "\n"
            for moment, name in self.events
            if since <= moment <= until
        ]
        return 200, "".join(lines)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with serving(Engine(tmp_path / "engine.sock")) as server:
        yield server


@pytest.fixture
def output(tmp_path: Path) -> Path:
    directory = tmp_path / "textfile"
    directory.mkdir()
    return directory / "containers.prom"


def run(engine: Engine, output: Path) -> subprocess.CompletedProcess[str]:
    program = install("node_exporter", "container_metrics.py", output.parents[1])
    command = [sys.executable, "-Es", str(program), str(output), "--socket", str(engine.path), "--timeout", "5"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def scrape(engine: Engine, output: Path) -> dict[str, dict[str, float]]:
    """Run the program; return the metrics it wrote by container name, those without a container under ""."""
    done = run(engine, output)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(output.read_text()):
        assert family.documentation.endswith(".")
        assert family.type == ("counter" if any(s.name.endswith("_total") for s in family.samples) else "gauge")
        for sample in family.samples:
            found.setdefault(sample.labels.get("name", ""), {})[sample.name] = sample.value
    return found


EVERYTHING = {
    "container_cpu_usage_seconds_total": 1.5,
    "container_memory_working_set_bytes": 20_000_000,
    "container_spec_memory_limit_bytes": 67_108_864,
    "container_start_time_seconds": 1_782_907_200,
    "container_running": 1,
    "container_healthy": 1,
    "container_restarts_total": 2,
    "container_oom_events_total": 0,
    "container_network_receive_bytes_total": 1500,
    "container_network_transmit_bytes_total": 15,
    "container_fs_reads_bytes_total": 4096,
    "container_fs_writes_bytes_total": 300,
}


def test_every_metric_of_a_container(engine: Engine, output: Path) -> None:
    engine.add(container())
    before = time.time()
    found = scrape(engine, output)
    assert found["app"] == EVERYTHING
    assert before - 0.001 <= found[""][SCRAPED] <= time.time()
    assert set(found) == {"app", ""}
    assert output.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in output.parent.iterdir()] == ["containers.prom"]


def test_cgroup_v1(engine: Engine, output: Path) -> None:
    memory = {"usage": 30_000_000, "stats": {"total_inactive_file": 10_000_000, "inactive_file": 1, "cache": 3}}
    counted = statistics(memory_stats=memory, blkio_stats={"io_service_bytes_recursive": TRANSFERS})
    engine.add(container(), counted)
    assert scrape(engine, output)["app"] == EVERYTHING


@pytest.mark.parametrize(
    ("changes", "metric", "value"),
    [
        ({"limit": 0}, "container_spec_memory_limit_bytes", 0),
        ({"health": None}, "container_healthy", None),
        ({"health": "none"}, "container_healthy", None),
        ({"health": "starting"}, "container_healthy", 0),
        ({"health": "unhealthy"}, "container_healthy", 0),
        ({"Restarting": True}, "container_running", 0),
    ],
)
def test_what_a_container_says(
    engine: Engine, output: Path, changes: dict[str, Any], metric: str, value: float | None
) -> None:
    engine.add(container(**changes))
    assert scrape(engine, output)["app"].get(metric) == value


@pytest.mark.parametrize(
    ("changes", "metric", "value"),
    [
        ({"networks": None}, "container_network_receive_bytes_total", None),
        ({"blkio_stats": {"io_service_bytes_recursive": None}}, "container_fs_reads_bytes_total", 0),
        ({"blkio_stats": {}}, "container_fs_writes_bytes_total", 0),
        ({"memory_stats": {}}, "container_memory_working_set_bytes", None),
        ({"memory_stats": {"usage": 7, "stats": {"inactive_file": 9}}}, "container_memory_working_set_bytes", 0),
        ({"memory_stats": {"usage": 7}}, "container_memory_working_set_bytes", 7),
    ],
)
def test_what_the_kernel_does_not_count(
    engine: Engine, output: Path, changes: dict[str, Any], metric: str, value: float | None
) -> None:
    engine.add(container(), statistics(**changes))
    assert scrape(engine, output)["app"].get(metric) == value


def test_the_host_network_is_not_counted(engine: Engine, output: Path) -> None:
    counted = statistics()
    del counted["networks"]
    engine.add(container(), counted)
    assert "container_network_transmit_bytes_total" not in scrape(engine, output)["app"]


def test_stopped_containers_are_reported_as_not_running(engine: Engine, output: Path) -> None:
    engine.add(container("stopped", "unhealthy", Running=False))
    engine.add(container("created", None, Running=False, StartedAt="0001-01-01T00:00:00Z"))
    found = scrape(engine, output)
    never = {"container_spec_memory_limit_bytes", "container_running", "container_restarts_total", OOM_EVENTS}
    assert set(found["created"]) == never
    assert set(found["stopped"]) == never | {"container_start_time_seconds"}
    assert found["stopped"]["container_running"] == found["created"]["container_running"] == 0
    assert not [path for path in engine.asked if "stats" in path]


@pytest.mark.parametrize("request_", ["json", "stats"])
def test_a_container_that_vanishes_is_left_out(engine: Engine, output: Path, request_: str) -> None:
    engine.add(container("app"))
    engine.add(container("vanished"))
    engine.gone.add((identifier("vanished"), request_))
    assert set(scrape(engine, output)) == {"app", ""}


def test_a_container_that_stops_before_it_is_counted_has_no_counters(engine: Engine, output: Path) -> None:
    engine.add(container(), NO_STATS)
    assert "container_cpu_usage_seconds_total" not in scrape(engine, output)["app"]


def test_no_container_at_all(engine: Engine, output: Path) -> None:
    assert {name: set(found) for name, found in scrape(engine, output).items()} == {"": {SCRAPED}}


def test_oom_kills_are_added_up_over_runs(engine: Engine, output: Path) -> None:
    engine.add(container("app"))
    engine.add(container("other"))
    engine.oom("app", time.time_ns() - 10**9)
    assert scrape(engine, output)["app"][OOM_EVENTS] == 0, "it was before the first run"
    engine.oom("app")
    engine.oom("removed")
    assert {scrape(engine, output)[name][OOM_EVENTS] for name in ("app", "other")} == {1, 0}
    engine.oom("app")
    engine.oom("app")
    engine.oom("other")
    found = scrape(engine, output)
    assert (found["app"][OOM_EVENTS], found["other"][OOM_EVENTS]) == (3, 1)
    assert "removed" not in found


def test_an_oom_kill_on_the_border_of_two_runs_counts_once(engine: Engine, output: Path) -> None:
    engine.add(container())
    border = round(scrape(engine, output)[""][SCRAPED] * 1000) * 10**6
    engine.oom("app", border)
    assert scrape(engine, output)["app"][OOM_EVENTS] == 0, "it belongs to the run that ended with it"
    border = round(scrape(engine, output)[""][SCRAPED] * 1000) * 10**6
    engine.oom("app", border + 1)
    assert [scrape(engine, output)["app"][OOM_EVENTS] for dummy in range(2)] == [1, 1]


def test_oom_kills_while_the_engine_was_down_are_not_lost(engine: Engine, output: Path) -> None:
    engine.add(container())
    scrape(engine, output)
    engine.oom("app")
    engine.fails["/stats"] = (500, '{"message":"broken"}\n')
    assert run(engine, output).returncode == 1
    engine.fails.clear()
    assert scrape(engine, output)["app"][OOM_EVENTS] == 1


def test_a_recreated_container_keeps_its_oom_kills(engine: Engine, output: Path) -> None:
    engine.add(container())
    scrape(engine, output)
    engine.oom("app")
    scrape(engine, output)
    new = copy.deepcopy(engine.containers.pop()) | {"Id": identifier("another"), "RestartCount": 0}
    engine.add(new)
    found = scrape(engine, output)["app"]
    assert (found[OOM_EVENTS], found["container_restarts_total"]) == (1, 0)
    engine.containers.clear()
    assert set(scrape(engine, output)) == {""}
    engine.add(new)
    assert scrape(engine, output)["app"][OOM_EVENTS] == 0


def test_a_clock_that_was_set_back(engine: Engine, output: Path) -> None:
    engine.add(container())
    output.write_text(f'{OOM_EVENTS}{{name="app"}} 4\n{SCRAPED} {time.time() + 3600:.3f}\n')
    assert scrape(engine, output)["app"][OOM_EVENTS] == 4
    engine.oom("app")
    assert scrape(engine, output)["app"][OOM_EVENTS] == 5


def test_an_unreadable_file_of_the_last_run_is_replaced(engine: Engine, output: Path) -> None:
    engine.add(container())
    output.write_text("# no metrics here\n\x00\n")
    assert scrape(engine, output)["app"] == EVERYTHING


def test_odd_names_are_escaped_and_read_back(engine: Engine, output: Path) -> None:
    names = ['quote"d', "back\\slash", "line\nbreak", "back\\new", 'both\\"', "snow\N{SNOWMAN}"]
    for name in names:
        engine.add(container(name))
    scrape(engine, output)
    for name in names:
        engine.oom(name)
    scrape(engine, output)
    found = scrape(engine, output)
    assert set(found) == {*names, ""}
    assert {found[name][OOM_EVENTS] for name in names} == {1}


def test_no_request_is_sent_twice(engine: Engine, output: Path) -> None:
    for name in ("app", "nginx"):
        engine.add(container(name))
    scrape(engine, output)
    assert len(engine.asked) == len(set(engine.asked)) == 2 * 2 + 3


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ((500, '{"message":"broken"}\n'), 'answers /containers/json with 500 ({"message":"broken"}): look at its log.'),
        ((200, "<html>"), "gives an answer that is not understood (JSONDecodeError("),
        ((200, "[{}]"), "gives an answer that is not understood (KeyError('Id')): look at its version, or set"),
        ((404, ""), "gives an answer that is not understood (TypeError("),
    ],
)
def test_a_wrong_answer_leaves_the_file(engine: Engine, output: Path, failure: tuple[int, str], sentence: str) -> None:
    engine.add(container())
    scrape(engine, output)
    before = output.read_bytes()
    engine.fails["/containers/json"] = failure
    done = run(engine, output)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert output.read_bytes() == before


def test_an_engine_that_is_down_leaves_the_file(engine: Engine, output: Path) -> None:
    engine.add(container())
    scrape(engine, output)
    before = output.read_bytes()
    engine.path = output.parent / "nothing.sock"
    done = run(engine, output)
    assert done.returncode == 1
    assert done.stderr == (
        f"The Docker engine does not answer at {engine.path} ([Errno 2] No such file or directory): "
        "look at systemctl status docker.\n"
    )
    assert output.read_bytes() == before


def test_a_missing_directory_is_reported(engine: Engine, output: Path) -> None:
    output.parent.rmdir()
    done = run(engine, output)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{output} cannot be written ([Errno 2] No such file or directory")
    assert done.stderr.endswith(": run the role node_exporter again.\n")
