# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Waits for what happens outside the module."""

from __future__ import annotations

import time
import typing as t

PAUSE_SECONDS = 0.2


def until(condition: t.Callable[[], bool], seconds: float) -> bool:
    """Evaluate the condition until it is true; return whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_SECONDS)
    return True
