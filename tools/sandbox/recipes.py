"""The recipes that images are built from, and the images' names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from role_variables import defaults

from sandbox.paths import ROLES, ROOT
from sandbox.shell import Failure

RECIPES = ROOT / "files" / "images"
BASE_OPTIONS = (
    "--variant=minbase",
    "--format=tar",
    # Mirrors in closed networks are often snapshots, whose package lists have expired.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=APT::Install-Recommends "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
)


@dataclass(frozen=True)
class Image:
    """A recipe built on the base image of a Debian suite.

    `package` is installed by the recipe and gives the image its version; `arguments` are the recipe's other build
    arguments; `variable` is the role variable that names the image.
    """

    name: str
    recipe: Path
    package: str = ""
    suite: str = "trixie"
    arguments: Mapping[str, str] = field(default_factory=dict)
    variable: str = ""

    def build_arguments(self, base: str) -> dict[str, str]:
        """All build arguments of the recipe."""
        package = {"PACKAGE": self.package} if self.package else {}
        return {"BASE": base, **package, **self.arguments}


REGISTRY = Image("registry", ROOT / "files" / "sandbox" / "registry", "docker-registry")
SERVER = Image("server", ROOT / "files" / "sandbox" / "server")


def digest(*parts: bytes) -> str:
    """Twelve hexadecimal digits that depend on all parts and on the boundaries between them."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:12]


def base_tag(suite: str, machine: str, options: tuple[str, ...] = BASE_OPTIONS) -> str:
    """The tag of a suite's base image."""
    return f"miniweb/base:{suite}-{digest(suite.encode(), machine.encode(), *(option.encode() for option in options))}"


def contents(paths: Iterable[Path], root: Path) -> list[bytes]:
    """Names below `root` and contents of all these files, for a digest."""
    parts = []
    for path in sorted(paths):
        if path.is_file() and "__pycache__" not in path.parts:
            parts += [path.relative_to(root).as_posix().encode(), path.read_bytes()]
    return parts


def recipe_hash(directory: Path, arguments: Mapping[str, str]) -> str:
    """A hash of the names and contents of the recipe's files, and of its build arguments including the base."""
    given = [f"{name}={value}".encode() for name, value in sorted(arguments.items())]
    return digest(*given, *contents(directory.rglob("*"), directory))


def program_version(package_version: str) -> str:
    """The upstream version in a Debian version, e.g. 1.26.3 in 1:1.26.3+ds1-3+deb13u1."""
    match = re.fullmatch(r"(?:\d+:)?([0-9A-Za-z.]+).*", package_version)
    if not match:
        raise Failure(f"The package version {package_version!r} contains no upstream version.")
    return match[1]


def package_version(status: str, package: str) -> str:
    """The version of a package in the text of dpkg's list of packages."""
    for entry in status.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in entry.splitlines() if re.match(r"(Package|Version): ", line))
        if lines.get("Package") == package:
            return lines["Version"]
    raise Failure(f"The image does not have the package {package}.")


def find_tag(tags: list[str], wanted: str) -> str | None:
    """Find the tag that is the recipe's hash, with or without a version before it."""
    return next((tag for tag in tags if tag.rpartition(":")[2].rpartition("-")[2] == wanted), None)


def service_images(roles: Path = ROLES, recipes: Path = RECIPES) -> list[Image]:
    """The images that the roles' meta/service.yml declare as buildable from Debian packages."""
    return [
        image_of(path, given, recipes)
        for path in sorted(roles.glob("*/meta/service.yml"))
        for given in yaml.safe_load(path.read_text()).get("images", [])
    ]


def image_of(path: Path, given: dict[str, Any], recipes: Path) -> Image:
    """The image that an entry of this meta/service.yml describes, named after its variable."""
    required = {"variable", "recipe", "package"}
    if not required <= given.keys() <= required | {"suite", "arguments"}:
        raise Failure(
            f"{path}: {given} is not a valid image: give it variable, recipe, package, suite if not trixie, and the "
            "recipe's other build arguments if it has any."
        )
    recipe = recipes / given["recipe"]
    if not (recipe / "Dockerfile").is_file():
        raise Failure(f"{path}: the recipe {given['recipe']} has no {recipe}/Dockerfile.")
    name = given["variable"].removesuffix("_image")
    return Image(name, recipe, **{key: value for key, value in given.items() if key != "recipe"})


def left_out(built: Iterable[Image], roles: Path = ROLES) -> list[str]:
    """The services whose image has no recipe: they are left out if it cannot be pulled."""
    variables = {image.variable for image in built}
    found = []
    for path in sorted(roles.glob("*/meta/service.yml")):
        pulled = defaults(path.parents[1]).keys() - variables
        found += [name for name in yaml.safe_load(path.read_text())["services"] if f"{name}_image" in pulled]
    return found
