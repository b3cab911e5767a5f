"""What the tests of nginx share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.nginx import run_upstream
from testinfra.host import Host


@pytest.fixture(scope="module", autouse=True)
def upstream(host: Host) -> Iterator[None]:
    run_upstream(host)
    yield
    host.run("docker rm --force upstream")
