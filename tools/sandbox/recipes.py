"""What images are built from, and their names."""

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
    # The mirrors of closed networks are often snapshots, whose lists are past their date.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=APT::Install-Recommends "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
)


@dataclass(frozen=True)
class Image:
    """A recipe on the base of a Debian suite.

    `package` is what the recipe installs, which gives the image its version; `arguments` are the recipe's build
    arguments beside it; `variable` is the role's that names the image.
    """

    name: str
    recipe: Path
    package: str = ""
    suite: str = "trixie"
    arguments: Mapping[str, str] = field(default_factory=dict)
    variable: str = ""

    def build_arguments(self, base: str) -> dict[str, str]:
        """All that the recipe is given."""
        package = {"PACKAGE": self.package} if self.package else {}
        return {"BASE": base, **package, **self.arguments}


REGISTRY = Image("registry", ROOT / "files" / "sandbox" / "registry", "docker-registry")
SERVER = Image("server", ROOT / "files" / "sandbox" / "server")


def digest(*parts: bytes) -> str:
    """Twelve hexadecimal digits of all parts; where one part ends matters."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:12]


def base_tag(suite: str, machine: str, options: tuple[str, ...] = BASE_OPTIONS) -> str:
    """The name of a suite's base."""
    return f"miniweb/base:{suite}-{digest(suite.encode(), machine.encode(), *(option.encode() for option in options))}"


def contents(paths: Iterable[Path], root: Path) -> list[bytes]:
    """Names below `root` and contents of all these files, for a digest."""
    parts = []
    for path in sorted(paths):
        if path.is_file() and "__pycache__" not in path.parts:
            parts += [path.relative_to(root).as_posix().encode(), path.read_bytes()]
    return parts


def recipe_hash(directory: Path, arguments: Mapping[str, str]) -> str:
    """Changes with the name or content of any file of the recipe, and with its build arguments, its base among them."""
    given = [f"{name}={value}".encode() for name, value in sorted(arguments.items())]
    return digest(*given, *contents(directory.rglob("*"), directory))


def program_version(package_version: str) -> str:
    """The program's own version in a Debian version, e.g. 1.26.3 in 1:1.26.3+ds1-3+deb13u1."""
    match = re.fullmatch(r"(?:\d+:)?([0-9A-Za-z.]+).*", package_version)
    if not match:
        raise Failure(f"The package version {package_version!r} has no program version in it.")
    return match[1]


def find_tag(tags: list[str], wanted: str) -> str | None:
    """The tag that is the recipe's hash, or a version and the recipe's hash."""
    return next((tag for tag in tags if tag.rpartition(":")[2].rpartition("-")[2] == wanted), None)


def service_images(roles: Path = ROLES, recipes: Path = RECIPES) -> list[Image]:
    """What the roles' meta/service.yml say can be built from Debian's packages."""
    return [
        image_of(path, given, recipes)
        for path in sorted(roles.glob("*/meta/service.yml"))
        for given in yaml.safe_load(path.read_text()).get("images", [])
    ]


def image_of(path: Path, given: dict[str, Any], recipes: Path) -> Image:
    """The image that an entry of this meta/service.yml describes; it is called after its variable."""
    required = {"variable", "recipe", "package"}
    if not required <= given.keys() <= required | {"suite", "arguments"}:
        raise Failure(
            f"{path}: {given} is no image: give it variable, recipe, package, suite if not trixie, and the recipe's "
            "other build arguments if it has any."
        )
    recipe = recipes / given["recipe"]
    if not (recipe / "Dockerfile").is_file():
        raise Failure(f"{path}: the recipe {given['recipe']} has no {recipe}/Dockerfile.")
    name = given["variable"].removesuffix("_image")
    return Image(name, recipe, **{key: value for key, value in given.items() if key != "recipe"})


def left_out(built: Iterable[Image], roles: Path = ROLES) -> list[str]:
    """The services that have an image and no recipe for it: absent where none can be pulled."""
    variables = {image.variable for image in built}
    found = []
    for path in sorted(roles.glob("*/meta/service.yml")):
        pulled = defaults(path.parents[1]).keys() - variables
        found += [name for name in yaml.safe_load(path.read_text())["services"] if f"{name}_image" in pulled]
    return found
