# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""The patterns of a ``.dockerignore`` file, as Docker's own client reads them."""

from __future__ import annotations

import posixpath
import re
import typing as t

WILDCARD = re.compile(r"[*?\[\]\\]")


def lines_of(text: str) -> list[str]:
    """Return the patterns in the text of a ``.dockerignore`` file."""
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _one(text: str, position: int) -> tuple[str, int]:
    """Return the character at a position within brackets, which a backslash may precede, and where the next one is.

    :raises ValueError: there is none.
    """
    if text[position : position + 1] == "\\":
        position += 1
    elif text[position : position + 1] in ("-", "]"):
        raise ValueError
    if position + 1 >= len(text):
        raise ValueError
    return text[position], position + 1


def _brackets(text: str, position: int) -> tuple[str, int]:
    """Return the regular expression for brackets and where the text goes on.

    :param position: that of the first character inside.
    :raises ValueError: they cannot be understood.
    """
    found = "[^" if text[position : position + 1] == "^" else "["
    position += len(found) - 1
    empty = True
    while empty or text[position] != "]":
        low, position = _one(text, position)
        high = low
        if text[position] == "-":
            high, position = _one(text, position + 1)
        if low > high:
            raise ValueError
        found += f"{re.escape(low)}-{re.escape(high)}"
        empty = False
    return f"{found}]", position + 1


def expression(pattern: str) -> str:
    """Return the regular expression for a pattern without ``!``.

    :raises ValueError: it cannot be understood.
    """
    found = ""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        rest = pattern[position + 2 :]
        position += 1
        if character == "*" and pattern[position : position + 1] == "*":
            position += 2 if rest.startswith("/") else 1
            # Docker compares the end of names with what follows ** at the beginning, unless that has wildcards, too.
            any_beginning = position == 2 and not WILDCARD.search(rest)
            found += ".*" if position >= len(pattern) or any_beginning else "(?:.*/)?"
        elif character == "*":
            found += "[^/]*"
        elif character == "?":
            found += "[^/]"
        elif character == "[":
            inside, position = _brackets(pattern, position)
            found += inside
        elif character == "\\":
            if position == len(pattern):
                raise ValueError
            found += re.escape(pattern[position])
            position += 1
        else:
            found += re.escape(character)
    return found


class Patterns:
    """Patterns in their order: the last one that matches decides, and one with ``!`` in front takes back."""

    def __init__(self, lines: t.Iterable[str]) -> None:
        """Read the patterns.

        :raises ValueError: one cannot be understood; the message names it.
        """
        self._patterns: list[tuple[re.Pattern[str], bool]] = []
        # Names that begin like these may be taken back.
        self._taken_back: list[str] = []
        for line in lines:
            negated = line.startswith("!")
            text = line.removeprefix("!").strip() if negated else line.strip()
            pattern = posixpath.normpath(text).lstrip("/") if text else ""
            try:
                if not text:
                    raise ValueError
                # What matches a directory matches everything in it.
                compiled = re.compile(f"(?:{expression(pattern)})(?:/.*)?", re.DOTALL)
            except ValueError as error:
                raise ValueError(f'"{line}" is no pattern that Docker understands') from error
            self._patterns.append((compiled, negated))
            if negated:
                self._taken_back.append(WILDCARD.split(pattern)[0])

    def match(self, name: str) -> bool:
        """Return whether a relative path matches."""
        matched = False
        for pattern, negated in self._patterns:
            if matched == negated and pattern.fullmatch(name):
                matched = not negated
        return matched

    def match_all_in(self, directory: str) -> bool:
        """Return whether everything in a directory that matches does, too."""
        inside = f"{directory}/"
        return not any(fixed.startswith(inside) or inside.startswith(fixed) for fixed in self._taken_back)
