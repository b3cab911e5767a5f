"""What the sandbox's images are made from, and their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from role_variables import defaults
from sandbox import recipes
from sandbox.paths import ROLES
from sandbox.shell import Failure


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    directory = tmp_path / "recipe"
    (directory / "sub").mkdir(parents=True)
    (directory / "Dockerfile").write_text("FROM ${BASE}\n")
    (directory / "sub" / "file").write_text("content\n")
    return directory


def test_recipe_hash_is_twelve_digits_and_stable(recipe: Path) -> None:
    first = recipes.recipe_hash(recipe, {"BASE": "base"})
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert recipes.recipe_hash(recipe, {"BASE": "base"}) == first


def test_recipe_hash_sees_content_name_and_arguments(recipe: Path) -> None:
    hashes = {recipes.recipe_hash(recipe, {"BASE": "base"}), recipes.recipe_hash(recipe, {"BASE": "other"})}
    hashes.add(recipes.recipe_hash(recipe, {"BASE": "base", "USER": "nobody"}))
    (recipe / "sub" / "file").write_text("changed\n")
    hashes.add(recipes.recipe_hash(recipe, {"BASE": "base"}))
    (recipe / "sub" / "file").rename(recipe / "sub" / "renamed")
    hashes.add(recipes.recipe_hash(recipe, {"BASE": "base"}))
    (recipe / "new").write_text("")
    hashes.add(recipes.recipe_hash(recipe, {"BASE": "base"}))
    assert len(hashes) == 6


def test_recipe_hash_ignores_pythons_bytecode(recipe: Path) -> None:
    before = recipes.recipe_hash(recipe, {})
    (recipe / "__pycache__").mkdir()
    (recipe / "__pycache__" / "program.pyc").write_bytes(b"compiled")
    assert recipes.recipe_hash(recipe, {}) == before


def test_digest_keeps_parts_apart() -> None:
    assert recipes.digest(b"ab", b"c") != recipes.digest(b"a", b"bc")


def test_base_tag_depends_on_suite_machine_and_options() -> None:
    tags = {
        recipes.base_tag("trixie", "x86_64"),
        recipes.base_tag("sid", "x86_64"),
        recipes.base_tag("trixie", "aarch64"),
        recipes.base_tag("trixie", "x86_64", ("--variant=minbase",)),
    }
    assert len(tags) == 4
    assert recipes.base_tag("sid", "x86_64").startswith("miniweb/base:sid-")


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
    assert recipes.program_version(package) == program


def test_program_version_refuses_nothing() -> None:
    with pytest.raises(Failure, match="''"):
        recipes.program_version("")


STATUS = "Package: a\nVersion: 1\nDescription: has words\n Version: 3\n\nPackage: ab\nVersion: 1:2-3\n"


@pytest.mark.parametrize(("package", "version"), [("a", "1"), ("ab", "1:2-3")])
def test_package_version(package: str, version: str) -> None:
    assert recipes.package_version(STATUS, package) == version


def test_package_version_refuses_a_package_that_is_not_there() -> None:
    with pytest.raises(Failure, match="does not have the package b"):
        recipes.package_version(STATUS, "b")


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
    assert recipes.find_tag(tags, "aaaaaaaaaaaa") == found


# -- what the roles declare about their images ------------------------------------------------------------------------

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

    def services(self) -> list[recipes.Image]:
        return recipes.service_images(self.roles, self.recipes)

    def left_out(self) -> list[str]:
        return recipes.left_out(self.services(), self.roles)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    made = Collection(tmp_path)
    (made.roles / "cloud" / "meta").mkdir(parents=True)
    made.add_role("engine", {"engine_source": "debian"}, [])
    return made


def test_a_role_and_a_recipe_are_all_that_an_image_needs(collection: Collection) -> None:
    assert collection.services() == []
    collection.add_recipe("shop")
    collection.add_recipe("exporter")
    defaults = {"shop_image": "shop:1.2", "shop_exporter_image": "shop/exporter:v3"}
    exporter = {"variable": "shop_exporter_image", "recipe": "exporter", "package": "shop-exporter", "suite": "sid"}
    exporter["arguments"] = {"PROGRAM": "/bin/shop"}
    collection.add_role("shop", defaults, ["shop", "shop_exporter"], images=[IMAGE, exporter])
    assert collection.services() == [
        recipes.Image("shop", collection.recipes / "shop", "shop-server", variable="shop_image"),
        recipes.Image(
            "shop_exporter",
            collection.recipes / "exporter",
            "shop-exporter",
            "sid",
            {"PROGRAM": "/bin/shop"},
            "shop_exporter_image",
        ),
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
        ({**IMAGE, "suit": "sid"}, "give it variable, recipe, package, suite"),
        ({"recipe": "shop"}, "give it variable, recipe, package, suite"),
    ],
)
def test_an_image_that_cannot_be_built_is_named(collection: Collection, image: dict[str, str], sentence: str) -> None:
    collection.add_recipe("shop")
    collection.add_role("shop", {"shop_image": "shop:1.2"}, ["shop"], images=[image])
    with pytest.raises(Failure, match=f"roles/shop/meta/service.yml: .*{sentence}"):
        collection.services()


BUILT = [*recipes.service_images(), recipes.REGISTRY, recipes.SERVER]


@pytest.mark.parametrize("image", BUILT, ids=lambda image: image.name)
def test_a_recipe_uses_all_its_arguments_and_needs_no_others(image: recipes.Image) -> None:
    text = (image.recipe / "Dockerfile").read_text()
    declared = dict(re.findall(r"^ARG (\w+)(=.*)?$", text, re.MULTILINE))
    given = set(image.build_arguments("base"))
    assert given <= set(declared)
    assert {name for name, default in declared.items() if not default} <= given
    assert all(f"${{{name}}}" in text for name in declared)


@pytest.mark.parametrize("image", BUILT, ids=lambda image: image.name)
def test_stages_of_a_recipe_have_the_label_by_which_they_are_removed(image: recipes.Image) -> None:
    text = (image.recipe / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\w+)\n(.*)$", text, re.MULTILINE)
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == len(stages) + 1
    assert [label for dummy, label in stages] == [f"LABEL miniweb.stage={name}" for name, dummy in stages]


def test_every_recipe_is_used() -> None:
    found = {
        path.parent for directory in ("images", "sandbox") for path in recipes.RECIPES.parent.glob(f"{directory}/*/*")
    }
    assert found == {image.recipe for image in BUILT}


def test_every_variable_has_an_official_image() -> None:
    for image in recipes.service_images():
        (role,) = (role for role in ROLES.iterdir() if image.variable.startswith(f"{role.name}_"))
        assert defaults(role)[image.variable]
