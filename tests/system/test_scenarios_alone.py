"""The molecule scenarios without containers. A file of its own, so that pytest-xdist runs it beside the others."""

from __future__ import annotations

import pytest
import scenarios


@pytest.mark.parametrize("scenario", sorted(scenarios.ALONE))
def test_scenario(scenario: str) -> None:
    scenarios.run(scenario)
