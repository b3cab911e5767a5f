"""Builds images from Debian packages, or reuses those of an earlier build."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

from sandbox.cache import compressor, feed, restored, store
from sandbox.engine import docker, exists, tags_of
from sandbox.recipes import BASE_OPTIONS, Image, base_tag, find_tag, package_version, program_version, recipe_hash
from sandbox.shell import install, run, say


def base_of(image: Image) -> str:
    """The tag of the base that is built here for this image."""
    return base_tag(image.suite, platform.machine())


def found(image: Image, base: str) -> str | None:
    """The tag of the image built from the current recipe, if the engine has it."""
    return find_tag(tags_of(f"miniweb/{image.name}"), recipe_hash(image.recipe, image.build_arguments(base)))


def ensure_base(suite: str, cache: Path) -> None:
    """Load a suite's base into the engine from the cache, or build it."""
    tag = base_tag(suite, platform.machine())
    if exists("image", tag):
        return
    archive = cache / f"{tag.rpartition(':')[2]}.tar{compressor()[1]}"
    importer = ["docker", "import", "-", tag]
    if not restored(archive, importer, f"the base {suite}"):
        # Without root, mmdebstrap uses a user namespace.
        unprivileged = {"newuidmap": "uidmap"} if os.geteuid() else {}
        install({"mmdebstrap": "mmdebstrap debian-archive-keyring", **unprivileged})
        say(f"Building the base {suite}…")
        store(["mmdebstrap", *BASE_OPTIONS, suite, "-"], archive)
        feed(archive, importer)


def build(image: Image, base: str) -> str:
    """Build the recipe; the tag is set last, so that only complete images have one."""
    say(f"Building the image {image.name}…")
    arguments = image.build_arguments(base)
    version = recipe_hash(image.recipe, arguments)
    with tempfile.TemporaryDirectory(prefix="miniweb-") as directory:
        identity = Path(directory) / "id"
        options = ["--force-rm", "--network", "host", "--iidfile", str(identity)]
        options += [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        # A recipe shares files with others by links, which Docker would not follow.
        context = ["tar", "--create", "--dereference", "--directory", str(image.recipe), "."]
        run(context, ["docker", "build", *options, "-"])
        made = identity.read_text().strip()
        if image.package:
            version = f"{program_version(installed_version(made, image.package, Path(directory)))}-{version}"
    tag = f"miniweb/{image.name}:{version}"
    docker("tag", made, tag)
    # Recipes label the stages that an image is made from: nothing needs them any more.
    docker("image", "prune", "--force", "--filter", "label=miniweb.stage")
    return tag


def installed_version(image: str, package: str, directory: Path) -> str:
    """The version of a package in an image, which need not have any program: its list is copied to the directory."""
    container = docker("create", image, "-")
    try:
        docker("cp", f"{container}:/var/lib/dpkg/status", str(directory))
    finally:
        docker("rm", "--volumes", container)
    return package_version((directory / "status").read_text(), package)


def ensure_image(image: Image, cache: Path, official_base: str = "") -> str:
    """Return the tag of the current recipe's image, which is loaded from the cache or built if the engine lacks it."""
    base = official_base or base_of(image)
    if tag := found(image, base):
        return tag
    archive = cache / f"{image.name}-{recipe_hash(image.recipe, image.build_arguments(base))}.tar{compressor()[1]}"
    if restored(archive, ["docker", "load"], f"the image {image.name}") and (tag := found(image, base)):
        return tag
    if not official_base:
        ensure_base(image.suite, cache)
    tag = build(image, base)
    store(["docker", "save", tag], archive)
    return tag
