"""What the tests of the whole system share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.playbooks import Converge, RunPlaybook, restoring
from helpers.server import ROOT
from playwright.sync_api import Browser, sync_playwright


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
