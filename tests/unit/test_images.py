"""The pure parts of tools/images.py."""

from __future__ import annotations

from pathlib import Path

import images
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    directory = tmp_path / "recipe"
    (directory / "sub").mkdir(parents=True)
    (directory / "Dockerfile").write_text("FROM ${BASE}\n")
    (directory / "sub" / "file").write_text("content\n")
    return directory


def test_recipe_hash_is_twelve_digits_and_stable(recipe: Path) -> None:
    first = images.recipe_hash(recipe, "base")
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert images.recipe_hash(recipe, "base") == first


def test_recipe_hash_sees_content_name_and_base(recipe: Path) -> None:
    hashes = {images.recipe_hash(recipe, "base"), images.recipe_hash(recipe, "other")}
    (recipe / "sub" / "file").write_text("changed\n")
    hashes.add(images.recipe_hash(recipe, "base"))
    (recipe / "sub" / "file").rename(recipe / "sub" / "renamed")
    hashes.add(images.recipe_hash(recipe, "base"))
    (recipe / "new").write_text("")
    hashes.add(images.recipe_hash(recipe, "base"))
    assert len(hashes) == 5


def test_digest_keeps_parts_apart() -> None:
    assert images.digest(b"ab", b"c") != images.digest(b"a", b"bc")


def test_base_tag_depends_on_suite_machine_and_options() -> None:
    tags = {
        images.base_tag("trixie", "x86_64"),
        images.base_tag("sid", "x86_64"),
        images.base_tag("trixie", "aarch64"),
        images.base_tag("trixie", "x86_64", ("--variant=minbase",)),
    }
    assert len(tags) == 4
    assert images.base_tag("sid", "x86_64").startswith("miniweb/base:sid-")


@pytest.mark.parametrize(
    ("package", "program"),
    [
        ("9.7.4-2", "9.7.4"),
        ("2.53.3+ds1-2", "2.53.3"),
        ("1.26.3-3+deb13u11", "1.26.3"),
        ("1:1.9.0~rc1-1+b4", "1.9.0"),
        ("3.13.5-1", "3.13.5"),
    ],
)
def test_program_version(package: str, program: str) -> None:
    assert images.program_version(package) == program


def test_program_version_refuses_nothing() -> None:
    with pytest.raises(images.Failure, match="''"):
        images.program_version("")


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["miniweb/nginx:1.26.3-aaaaaaaaaaaa"], "miniweb/nginx:1.26.3-aaaaaaaaaaaa"),
        (["miniweb/server:current", "miniweb/server:aaaaaaaaaaaa"], "miniweb/server:aaaaaaaaaaaa"),
        (["miniweb/nginx:1.26.3-bbbbbbbbbbbb", "miniweb/nginx:<none>"], None),
        (["miniweb/nginx:1.26.3-baaaaaaaaaaaa"], None),
        ([], None),
    ],
)
def test_find_tag(tags: list[str], found: str | None) -> None:
    assert images.find_tag(tags, "aaaaaaaaaaaa") == found


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
    with pytest.raises(images.Failure, match="IMAGES=official: no way there; reach a registry, or use IMAGES=packages"):
        images.decide("official", lambda: "no way there")


def test_host_vars_of_own_images() -> None:
    rendered = images.render_host_vars({"nginx_image": "miniweb/nginx:1-a", "mysql_image": "miniweb/mysql:9-b"})
    lines = rendered.splitlines()
    assert lines[0] == "---"
    assert lines[2:] == [
        "mysql_image: registry:5000/miniweb/mysql:9-b",
        "nginx_image: registry:5000/miniweb/nginx:1-a",
        "docker_insecure_registries:",
        "  - registry:5000",
        "grafana_enabled: false",
    ]


def test_host_vars_of_official_images() -> None:
    assert images.render_host_vars({}).splitlines()[2:] == ["grafana_enabled: true"]


def test_write_if_changed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "images.yml"
    assert images.write_if_changed(path, "one\n")
    before = path.stat().st_ino
    assert not images.write_if_changed(path, "one\n")
    assert path.stat().st_ino == before
    assert images.write_if_changed(path, "two\n")
    assert path.read_text() == "two\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "line", ["an_image: repo/name:v1", 'an_image: "repo/name:v1"', "an_image:  repo/name:v1  # why"]
)
def test_default_of(line: str) -> None:
    assert images.default_of("an_image", f"---\nother: 1\n{line}\n") == "repo/name:v1"


def test_default_of_names_a_missing_variable() -> None:
    with pytest.raises(images.Failure, match="an_image"):
        images.default_of("an_image", "---\nother: 1\n")


def test_store_leaves_nothing_incomplete(tmp_path: Path) -> None:
    with pytest.raises(images.Failure, match="failed"):
        images.store(["sh", "-c", "echo half; exit 3"], tmp_path / "archive")
    assert list(tmp_path.iterdir()) == []


def test_restored_gives_back_what_was_stored(tmp_path: Path) -> None:
    archive, copy = tmp_path / "archive", tmp_path / "copy"
    images.store(["echo", "whole"], archive)
    assert images.restored(archive, ["sh", "-c", f"cat > {copy}"])
    assert copy.read_text() == "whole\n"


def test_restored_throws_a_damaged_archive_away(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"not compressed")
    assert not images.restored(archive, ["cat"])
    assert not archive.exists()


@pytest.mark.parametrize(
    "service", [*images.SERVICES, images.REGISTRY, images.SERVER], ids=lambda service: service.name
)
def test_every_service_has_a_recipe(service: images.Service) -> None:
    assert (images.RECIPES / service.name / "Dockerfile").read_text().count("FROM ${BASE}") == 1


def test_every_recipe_has_a_service() -> None:
    names = {service.name for service in (*images.SERVICES, images.REGISTRY, images.SERVER)}
    assert {path.parent.name for path in images.RECIPES.glob("*/Dockerfile")} == names
