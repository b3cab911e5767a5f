"""Where the sandbox's images come from, and what the roles are told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from sandbox import images, paths
from sandbox.shell import Failure


@pytest.mark.parametrize(
    ("requested", "obstacle", "source"),
    [
        ("auto", None, "official"),
        ("auto", "no such host", "packages"),
    ],
)
def test_decide_asks_a_registry(requested: str, obstacle: str | None, source: str) -> None:
    chosen, reason = images.decide(requested, lambda: obstacle)
    assert chosen == source
    assert obstacle is None or reason == obstacle


def test_decide_builds_without_asking() -> None:
    def probe() -> str | None:
        raise AssertionError("asked although told")

    assert images.decide("packages", probe)[0] == "packages"


def test_decide_refuses_official_images_that_cannot_be_pulled() -> None:
    assert images.decide("official", lambda: None)[0] == "official"
    with pytest.raises(Failure, match="IMAGES=official: no way there; reach a registry, or use IMAGES=packages"):
        images.decide("official", lambda: "no way there")


def test_host_vars_of_own_images() -> None:
    rendered = images.render_host_vars(
        {"nginx_image": "registry:5000/nginx:1-a", "mysql_image": "registry:5000/mysql:9-b"}
    )
    lines = rendered.splitlines()
    assert lines[0] == "---"
    assert lines[2:] == [
        "mysql_image: registry:5000/mysql:9-b",
        "nginx_image: registry:5000/nginx:1-a",
        "docker_insecure_registries:",
        "  - registry:5000",
    ]


def test_host_vars_say_what_is_left_out() -> None:
    rendered = images.render_host_vars({"a_image": "miniweb/a:1"}, ["shop", "till"])
    assert rendered.splitlines()[-2:] == ["shop_state: absent", "till_state: absent"]
    assert images.left_out_of(yaml.safe_load(rendered)) == ["shop", "till"]


def test_host_vars_of_official_images() -> None:
    assert yaml.safe_load(images.render_host_vars({})) is None


def test_write_if_changed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "images.yml"
    assert paths.write_if_changed(path, "one\n")
    before = path.stat().st_ino
    assert not paths.write_if_changed(path, "one\n")
    assert path.stat().st_ino == before
    assert paths.write_if_changed(path, "two\n")
    assert path.read_text() == "two\n"
    assert list(path.parent.iterdir()) == [path]
