"""image_pull: which names of images say exactly which image they mean."""

from __future__ import annotations

import pytest
from ansible_collections.miniweb.stack.plugins.filter.image_pull import image_pull


@pytest.mark.parametrize(
    ("image", "when"),
    [
        ("mysql:8.4.7", "missing"),
        ("nginx:1.28.0-alpine", "missing"),
        ("prom/prometheus:v3.14.0", "missing"),
        ("registry.example.com:5000/team/app:1.5.1-603f", "missing"),
        ("app:1.2.3.4", "missing"),
        ("app@sha256:0f1c", "missing"),
        ("app:latest@sha256:0f1c", "missing"),
        ("mysql", "always"),
        ("mysql:latest", "always"),
        ("mysql:8.4", "always"),
        ("python:3.13-slim", "always"),
        ("app:20261126", "always"),
        ("app:main", "always"),
        # A port is no tag.
        ("registry.example.com:5000/app", "always"),
        ("1.2.3/app", "always"),
    ],
)
def test_a_tag_that_may_move_is_pulled_again(image: str, when: str) -> None:
    assert image_pull(image) == when
