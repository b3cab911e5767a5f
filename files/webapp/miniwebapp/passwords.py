"""Password rules and hashing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask_babel import gettext
from werkzeug.security import check_password_hash

SHORTEST = 10
# OWASP's second recommendation. One hash at a time limits memory and leaves CPU to other requests.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
Result = TypeVar("Result")
# Those in Django's list of common passwords that are long enough. NIST SP 800-63B recommends such a list, and advises
# against composition rules.
COMMON = frozenset(Path(__file__).with_name("common_passwords.txt").read_text(encoding="utf-8").split())


@cache
def _thread_of(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "hash")


def _alone(function: Callable[..., Result], *given: str) -> Result:
    # glibc keeps the memory of a hash for each thread that has made one. A forked process has none of its parent's threads.
    return _thread_of(os.getpid()).submit(function, *given).result()


def make_hash(password: str) -> str:
    return _alone(_hasher.hash, password)


_NOBODYS = make_hash("nobody's password")


def matches(password: str, kept: str | None) -> bool:
    """Whether the password is right; without a stored hash it never is, but the check takes as long."""
    known = kept is not None
    kept = kept or _NOBODYS
    try:
        if not kept.startswith("$argon2"):
            return _alone(check_password_hash, kept, password)
        return _alone(_hasher.verify, kept, password) and known
    except (VerificationError, InvalidHashError, ValueError):
        return False


def is_outdated(kept: str) -> bool:
    return not kept.startswith("$argon2") or _hasher.check_needs_rehash(kept)


def problem(password: str, personal: Iterable[str]) -> str | None:
    """Why the password is too weak, or None; `personal` are the user's values that it must not equal."""
    if len(password) < SHORTEST:
        return gettext(
            "is too short: %(given)d characters, at least %(least)d are needed", given=len(password), least=SHORTEST
        )
    plain = password.casefold()
    if plain in COMMON or len(set(plain)) < 4:
        return gettext("is among the first that anybody tries")
    if any(plain == value.casefold() for value in personal if value):
        return gettext("must not be the name, e-mail or username")
    return None
