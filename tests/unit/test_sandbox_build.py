"""An image is built once: afterwards the engine or the cache has it. Slow steps are announced."""

from __future__ import annotations

from pathlib import Path

import pytest
from sandbox import build, images, shell
from sandbox.engine import tags_of
from sandbox.recipes import SERVER, Image, recipe_hash

# The engine's images are listed in a file, one on each line.
DOCKER = """\
#!/bin/sh
cd "$(dirname "$0")"
case "$1 $2" in
    "image ls") touch tags; cat tags ;;
    "image inspect") ;;
    build*) tar --extract --to-stdout > context || exit
        test -z "$BROKEN" || { echo "no space left" >&2; exit 1; }
        while test "$1" != --iidfile; do shift; done; echo sha256:1 > "$2" ;;
    create*) echo "$1" ;;
    cp*) printf 'Package: other\nVersion: 9\n\nPackage: shop-server\nStatus: ok\nVersion: 1:2.3-4\n' > "$3/status" ;;
    rm*) ;;
    "image prune") ;;
    tag*) echo "$3" >> tags ;;
    save*) echo "$2" ;;
    load*) cat >> tags ;;
    *) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a docker program; its file tags holds what the engine has."""
    directory = tmp_path / "engine"
    directory.mkdir()
    (directory / "docker").write_text(DOCKER)
    (directory / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return directory


@pytest.fixture
def image(tmp_path: Path) -> Image:
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    return Image("shop", recipe, "shop-server")


def test_an_image_is_built_once(engine: Path, image: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = build.ensure_image(image, tmp_path)
    assert tag.startswith("miniweb/shop:2.3-")
    assert capsys.readouterr().out == "Building the image shop…\n"
    assert build.ensure_image(image, tmp_path) == tag
    assert capsys.readouterr().out == ""
    (engine / "tags").unlink()
    assert build.ensure_image(image, tmp_path) == tag
    assert capsys.readouterr().out == "Loading the image shop from the cache…\n"


def test_a_recipe_may_share_files_with_others(engine: Path, image: Image, tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("shared by both\n")
    (image.recipe / "shared").symlink_to("../shared")
    tag = build.ensure_image(image, tmp_path)
    assert "shared by both\n" in (engine / "context").read_text()
    (tmp_path / "shared").write_text("changed\n")
    assert build.ensure_image(image, tmp_path) != tag


def test_another_argument_is_another_image(engine: Path, image: Image, tmp_path: Path) -> None:
    other = Image("shop", image.recipe, "shop-server", arguments={"USER": "nobody"})
    assert build.ensure_image(other, tmp_path) != build.ensure_image(image, tmp_path)


def test_a_failed_build_is_shown_and_leaves_no_image(
    engine: Path, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(shell.Failure, match=r"(?s)`docker build .*` failed \(1\):\nno space left"):
        build.ensure_image(image, tmp_path)
    assert not build.found(image, build.base_of(image))
    assert not list(tmp_path.glob("shop-*"))


@pytest.fixture
def registry(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A registry that never answers; yield the requests sent to it."""
    asked: list[str] = []
    monkeypatch.setenv("MINIWEB_CACHE", str(tmp_path))
    monkeypatch.setattr(images, "probe_official", lambda: asked.append("asked") or "no registry answers")
    images.chosen_source.cache_clear()
    return asked


@pytest.mark.parametrize("base", [images.OFFICIAL_BASE, build.base_of(SERVER)])
def test_a_server_that_the_engine_has_is_used_whatever_its_base(
    engine: Path, registry: list[str], capsys: pytest.CaptureFixture[str], base: str
) -> None:
    tag = f"miniweb/server:{recipe_hash(SERVER.recipe, SERVER.build_arguments(base))}"
    (engine / "tags").write_text(f"{tag}\n")
    images.ensure_server("auto")
    assert (engine / "tags").read_text().split() == [tag, images.BARE]
    assert (registry, capsys.readouterr().out) == ([], "")


def test_a_missing_server_is_built_on_an_available_base(
    registry: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    images.ensure_server("auto")
    images.ensure_server("auto")
    assert registry == ["asked"]
    assert capsys.readouterr().out.splitlines() == [
        "Images: built from Debian's packages (no registry answers).",
        "Building the image server…",
    ]
    assert build.found(SERVER, build.base_of(SERVER))


def test_a_pipeline_names_the_command_that_failed() -> None:
    assert shell.run(["echo", "a b"], ["tr", "a", "c"]) == "c b"
    with pytest.raises(shell.Failure, match=r"(?s)`sh -c 'echo lost >&2; exit 3'` failed \(3\):\nlost"):
        shell.run(["echo"], ["sh", "-c", "echo lost >&2; exit 3"])


def test_an_image_without_a_tag_is_not_named(engine: Path) -> None:
    (engine / "tags").write_text("miniweb/nginx:1\nminiweb/nginx:<none>\n")
    assert tags_of("miniweb/*") == ["miniweb/nginx:1"]
