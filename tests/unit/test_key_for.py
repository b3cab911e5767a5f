"""key_for: does a private key belong to a certificate?"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.miniweb.stack.plugins.test import key_for as plugin
from ansible_collections.miniweb.stack.plugins.test.key_for import key_for


def pair(directory: Path, *algorithm: str) -> tuple[str, str]:
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", *algorithm, "-nodes", "-subj", "/CN=test", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key.read_text(), certificate.read_text()


@pytest.mark.parametrize("algorithm", [("rsa:2048",), ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), ("ed25519",)])
def test_key_for(tmp_path: Path, algorithm: tuple[str, ...]) -> None:
    key, certificate = pair(tmp_path, *algorithm)
    other_key, other_certificate = pair(tmp_path, *algorithm)
    assert key_for(key, certificate)
    assert key_for(other_key, other_certificate + certificate)
    assert not key_for(other_key, certificate)


@pytest.mark.parametrize(("key", "certificate"), [("", ""), ("no key", "no certificate")])
def test_unreadable(key: str, certificate: str) -> None:
    assert key_for(key, certificate) is False


def test_name() -> None:
    assert plugin.TestModule().tests() == {"key_for": key_for}
