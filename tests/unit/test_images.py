"""The pure parts of tools/images.py, and what tools/sandbox.py makes of them."""

from __future__ import annotations

from pathlib import Path

import images
import pytest
import sandbox
import yaml

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
    ]


def test_host_vars_say_what_is_left_out() -> None:
    rendered = images.render_host_vars({"a_image": "miniweb/a:1"}, ["shop", "till"])
    assert rendered.splitlines()[-2:] == ["shop_state: absent", "till_state: absent"]
    assert images.left_out_of(yaml.safe_load(rendered)) == ["shop", "till"]


def test_host_vars_of_official_images() -> None:
    assert yaml.safe_load(images.render_host_vars({})) is None


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


# -- what the roles say of their images -------------------------------------------------------------------------------

IMAGE = {"variable": "shop_image", "recipe": "shop", "package": "shop-server"}


class Collection:
    """Roles and recipes of a collection."""

    def __init__(self, path: Path) -> None:
        self.roles, self.recipes = path / "roles", path / "images"

    def add_role(self, name: str, defaults: dict[str, str], services: list[str], **more: object) -> None:
        for part, content in (("defaults/main", defaults), ("meta/service", {"services": services, **more})):
            file = self.roles / name / f"{part}.yml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump(content))

    def add_recipe(self, name: str) -> None:
        (self.recipes / name).mkdir(parents=True)
        (self.recipes / name / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")

    def services(self) -> list[images.Service]:
        return images.services(self.roles, self.recipes)

    def left_out(self) -> list[str]:
        return images.left_out(self.services(), self.roles)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    made = Collection(tmp_path)
    (made.roles / "cloud" / "meta").mkdir(parents=True)
    made.add_role("engine", {"engine_source": "debian"}, [])
    return made


def test_a_role_and_a_recipe_are_all_that_an_image_needs(collection: Collection) -> None:
    assert collection.services() == []
    collection.add_recipe("shop")
    collection.add_recipe("shop-exporter")
    defaults = {"shop_image": "shop:1.2", "shop_exporter_image": "shop/exporter:v3"}
    exporter = {"variable": "shop_exporter_image", "recipe": "shop-exporter", "package": "exporter", "suite": "sid"}
    collection.add_role("shop", defaults, ["shop", "shop_exporter"], images=[IMAGE, exporter])
    assert collection.services() == [
        images.Service("shop", "trixie", "shop-server", "shop_image"),
        images.Service("shop-exporter", "sid", "exporter", "shop_exporter_image"),
    ]
    assert collection.left_out() == []


def test_what_has_no_recipe_is_left_out(collection: Collection) -> None:
    collection.add_recipe("shop")
    collection.add_role(
        "shop", {"shop_image": "shop:1.2", "shop_exporter_image": "e:1"}, ["shop", "shop_exporter"], images=[IMAGE]
    )
    collection.add_role("till", {"till_image": "till:2"}, ["till"])
    collection.add_role("app", {"app_name": "app", "app_image": ""}, ["{{ app_name }}"])
    assert collection.left_out() == ["shop_exporter", "till"]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ({**IMAGE, "recipe": "none"}, "the recipe none has no .*/none/Dockerfile"),
        ({**IMAGE, "suit": "sid"}, "give it variable, recipe, package, and suite"),
        ({"recipe": "shop"}, "give it variable, recipe, package, and suite"),
    ],
)
def test_an_image_that_cannot_be_built_is_named(collection: Collection, image: dict[str, str], sentence: str) -> None:
    collection.add_recipe("shop")
    collection.add_role("shop", {"shop_image": "shop:1.2"}, ["shop"], images=[image])
    with pytest.raises(images.Failure, match=f"roles/shop/meta/service.yml: .*{sentence}"):
        collection.services()


BUILT = [*images.services(), images.REGISTRY, images.SERVER]


@pytest.mark.parametrize("service", BUILT, ids=lambda service: service.name)
def test_every_recipe_takes_its_base(service: images.Service) -> None:
    assert (images.RECIPES / service.name / "Dockerfile").read_text().count("FROM ${BASE}") == 1


def test_every_recipe_is_of_a_service() -> None:
    assert {path.parent.name for path in images.RECIPES.glob("*/Dockerfile")} == {service.name for service in BUILT}


def test_every_variable_has_an_official_image() -> None:
    for service in images.services():
        (role,) = (role for role in images.ROLES.iterdir() if service.variable.startswith(f"{role.name}_"))
        assert images.default_of(service.variable, (role / "defaults" / "main.yml").read_text())


# -- what a prepared server depends on --------------------------------------------------------------------------------


def test_a_server_depends_on_all_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "roles/engine/tasks/main.yml": "- miniweb.stack.check_input:\n- miniweb.stack.daemon:\n    options: {}\n",
        "roles/engine/README.md": "See miniweb.stack.other.\n",
        "plugins/action/check_input.py": 'from ..plugin_utils.words import joined\nMODULE = "miniweb.stack.server"\n',
        "plugins/modules/check_input.py": "",
        "plugins/modules/server.py": "# See M(miniweb.stack.other).\n",
        "plugins/modules/other.py": "",
        "plugins/modules/daemon.py": "from ansible_collections.miniweb.stack.plugins.module_utils.deep.one import (\n    x,\n)\n",
        "plugins/plugin_utils/words.py": "from ansible_collections.miniweb.stack.plugins.module_utils import plain\n",
        "plugins/module_utils/plain.py": "",
        "plugins/module_utils/unused.py": "",
        "plugins/module_utils/deep/one.py": "",
        "plugins/module_utils/deep/two.py": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sandbox, "ROOT", tmp_path)
    found = sandbox.made_of(tmp_path / "roles" / "engine") - {images.HOST_VARS}
    unused = {"roles/engine/README.md", "plugins/modules/other.py", "plugins/module_utils/unused.py"}
    assert {str(path.relative_to(tmp_path)) for path in found} == texts.keys() - unused
