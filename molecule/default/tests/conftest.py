"""What the tests of the whole system share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.playbooks import Converge, RunPlaybook, restoring
from helpers.server import ROOT
from playwright.sync_api import Browser, sync_playwright


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Repeat a test in which the browser broke off, as it does when any address of the machine comes or goes.

    Another scenario's server does that when it starts. No other failure is repeated.
    """
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=3, only_rerun="ERR_NETWORK_CHANGED"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def site(run_playbook: RunPlaybook) -> Iterator[Converge]:
    """Run site.yml with other variables and options, and restore what they changed after the test."""

    def run(variables: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        return run_playbook(ROOT / "site.yml", variables, *words)

    with restoring(run) as restored:
        yield restored
