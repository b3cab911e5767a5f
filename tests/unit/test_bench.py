"""What the benchmark reads from wrk and from the kernel."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import bench
import pytest
from sandbox.shell import Failure

FAST = """\
  Latency Distribution
     50%   42.80ms
     75%   50.00ms
     99%  930.00us
  5812 requests in 8.01s, 2.10MB read
Requests/sec:    726.03
"""
SLOW = """\
  Latency Distribution
     50%    1.01s\x20
     99%    1.89s\x20
  19 requests in 2.01s, 8.28KB read
  Socket errors: connect 1, read 2, write 0, timeout 4
  Non-2xx or 3xx responses: 3
Requests/sec:      9.47
"""


def test_figures_have_their_units() -> None:
    assert bench.parse(FAST, 66) == bench.Result(726.03, 42.8, pytest.approx(0.93), 0, 66)


def test_slow_answers_and_errors_are_figures_too() -> None:
    assert bench.parse(SLOW) == bench.Result(9.47, 1010, pytest.approx(1890), 10, 0)


def test_no_figures_are_no_result() -> None:
    with pytest.raises(Failure, match="wrk printed no figures:\nunable to connect"):
        bench.parse("unable to connect")


def test_the_middle_of_the_rounds_is_reported_and_every_error() -> None:
    first = bench.Result(100, 10, 90, 1, 60, {"nginx": 0.2, "wrk": 0.1})
    second = bench.Result(300, 30, 70, 0, 80, {"nginx": 0.1})
    third = bench.Result(200, 20, 80, 2, 70, {"nginx": 0.3, "mysqld": 0.4})
    assert bench.middle([first, second, third]) == bench.Result(
        200, 20, 80, 3, 70, {"nginx": 0.2, "wrk": 0, "mysqld": 0}
    )


def test_the_cpu_seconds_of_a_program_are_its_own(tmp_path: Path) -> None:
    program = tmp_path / "busy (bench)"
    program.symlink_to("/bin/sh")
    begin = time.monotonic()
    with subprocess.Popen([program, "-c", "while :; do :; done"]) as process:
        try:
            while not (used := bench.processor_seconds()[program.name]):
                assert time.monotonic() < begin + 10, "a busy program must have used CPU time"
                time.sleep(0.05)
        finally:
            process.kill()
    assert used <= time.monotonic() - begin + 0.01
