"""Paths of the sandbox's files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"
STATE = ROOT / ".sandbox"
KEY = STATE / "ssh_key"
TEST_VARS = STATE / "test_vars.yml"
SECRETS = ROOT / "secrets" / "sandbox"
HOST_VARS = ROOT / "inventory" / "host_vars" / "sandbox" / "images.yml"
# The platform that molecule defines for a server
DEFINITION = ROOT / ".config" / "molecule" / "config.yml"


def write_if_changed(path: Path, content: str) -> bool:
    """Write the file atomically; return whether its content changed."""
    if path.exists() and path.read_text() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(content)
    partial.replace(path)
    return True
