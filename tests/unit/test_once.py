"""Variables that a play of the whole system evaluates once, and passwords that nobody needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.miniweb.stack.plugins.plugin_utils.roles import trust_as_template
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import forget, remember

PLAY = {"inventory_hostname": "here", "ansible_play_name": "The whole system"}


def value(text: str, **variables: Any) -> Any:
    given = {**PLAY, "wanted": trust_as_template("{{ source }}"), **variables}
    return Templar(loader=DataLoader(), variables=given).template(trust_as_template(text))


@pytest.fixture(autouse=True)
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))


ONCE = "{{ lookup('miniweb.stack.once', 'wanted') }}"
OF_BLOG = "{{ lookup('miniweb.stack.once', 'wanted', application='blog') }}"


@pytest.mark.parametrize("source", ["present", 7, True, "", {"processes": {"worker": [1, 2]}, "asgi": ""}], ids=str)
def test_a_value_stays_the_same_from_the_check_at_the_start_on(source: Any) -> None:
    remember(PLAY, values={})
    assert value(ONCE, source=source) == source
    assert value(ONCE, source="changed") == source


@pytest.mark.parametrize(
    ("text", "variables"),
    [(OF_BLOG, {}), (ONCE, {"ansible_play_name": "Another"}), (ONCE, {"inventory_hostname": "there"})],
    ids=["of another application", "in another play", "of another host"],
)
def test_a_value_is_evaluated_again(text: str, variables: dict[str, Any]) -> None:
    remember(PLAY, values={})
    assert value(ONCE, source="first") == "first"
    assert value(text, source="second", **variables) == "second"
    assert value(ONCE, source="third") == "first"


def test_a_value_is_evaluated_each_time_without_the_check_and_after_the_next_one() -> None:
    assert [value(ONCE, source=source) for source in "ab"] == ["a", "b"]
    remember(PLAY, values={})
    assert [value(ONCE, source=source) for source in "cd"] == ["c", "c"]
    forget(PLAY)
    assert [value(ONCE, source=source) for source in "ef"] == ["e", "f"]


def test_what_cannot_be_evaluated_is_not_kept() -> None:
    remember(PLAY, values={})
    with pytest.raises(AnsibleError, match="source"):
        value(ONCE)
    assert value(ONCE, source="now") == "now"


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(AnsibleError, match='The variable "unwanted" is not defined'):
        value("{{ lookup('miniweb.stack.once', 'unwanted') }}")
