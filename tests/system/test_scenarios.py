"""Every molecule scenario with containers, one after the other, as they share addresses. The whole system comes last."""

from __future__ import annotations

import pytest
import scenarios


@pytest.mark.parametrize(
    "scenario", sorted(scenarios.ALL - scenarios.ALONE, key=lambda name: (name == "default", name))
)
def test_scenario(scenario: str) -> None:
    scenarios.run(scenario)
