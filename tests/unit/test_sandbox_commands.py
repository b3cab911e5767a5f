"""`make up` says so if the sandbox server belongs to another copy of the project."""

from __future__ import annotations

from pathlib import Path

import pytest
from sandbox import commands
from sandbox.shell import Failure


class Continued(Exception):
    """What follows the check was reached."""


@pytest.mark.parametrize(
    ("server", "has_key", "key_of", "refused"),
    [
        (False, False, "", False),
        (False, True, "", False),
        (True, False, "a", True),
        (True, True, "a copy/with a space", True),
        (True, True, "", False),
    ],
)
def test_a_server_of_another_copy_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: bool, has_key: bool, key_of: str, refused: bool
) -> None:
    key = tmp_path / "ssh_key"
    if has_key:
        key.touch()

    def stop() -> None:
        raise Continued

    monkeypatch.setattr(commands, "KEY", key)
    monkeypatch.setattr(commands.engine, "ensure", lambda: None)
    monkeypatch.setattr(commands, "exists", lambda kind, name: server)
    monkeypatch.setattr(commands, "docker", lambda *words: f"/lib/modules\n{tmp_path / key_of / 'ssh_key.pub'}\n")
    monkeypatch.setattr(commands, "ensure_key", stop)
    with pytest.raises(Failure if refused else Continued) as caught:
        commands.up("auto")
    assert ("another copy" in str(caught.value)) == refused
