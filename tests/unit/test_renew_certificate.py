"""The program that renews the certificate of nginx, without nginx and without an authority."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils import certificates, server_files, waiting

PROGRAM = Path(__file__).parents[2] / "roles" / "nginx" / "files" / "renew_certificate.py"
NAMES = ["www.example.com", "example.com"]
ACME = {
    "email": "admin@example.com",
    "directory_url": "https://acme.example.com/directory",
    "ca": "",
    "dns_provider": "",
    "dns_environment": {},
    "key_type": "ec256",
    "reuse_key": False,
    "image": "goacme/lego:v4.35.2",
    "options": [],
    "http_proxy": "",
    "network": "miniweb-edge",
    "challenge_directory": "/opt/miniweb/nginx/challenge",
}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for utilities in (certificates, server_files, waiting):
        monkeypatch.setitem(sys.modules, utilities.__name__.rpartition(".")[2], utilities)
    spec = importlib.util.spec_from_file_location("renew_certificate", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own = tmp_path / "certificate"
    own.mkdir()
    for name, value in (("DIRECTORY", own), ("SETTINGS", own / "settings.json"), ("STATE", own / "state.json")):
        monkeypatch.setattr(module, name, value)
    # Nothing of nginx is there, and files belong to the one who runs the tests.
    monkeypatch.setattr(module.Certificate, "container", lambda self: "")
    monkeypatch.setattr(module.os, "chown", lambda *args: None)
    monkeypatch.setattr(module.os, "fchown", lambda *args: None)
    return module


def certificate(program: ModuleType, tmp_path: Path, kind: str = "self_signed", **acme: Any) -> Any:
    directory = tmp_path / "tls"
    directory.mkdir(exist_ok=True)
    return program.Certificate(
        {
            "kind": kind,
            "names": NAMES,
            "directory": str(directory),
            "owner": 101,
            "valid_days": 397,
            "renew_days": 30,
            "project": "miniweb-nginx",
            "lock": str(tmp_path / "lock"),
            "port": 443,
            "copies": [str(tmp_path / "copy.pem"), str(tmp_path / "none.pem")],
            "metrics_directory": str(tmp_path),
            "acme": {**ACME, **acme},
        }
    )


def issued(program: ModuleType, names: list[str], days: int) -> tuple[bytes, bytes]:
    """A certificate as lego might leave it, and its key."""
    openssl = program.OpenSSL(program.execute)
    return openssl.self_signed(certificates.alternative_names(names), days)


def has_lego_answer(monkeypatch: pytest.MonkeyPatch, program: ModuleType, answer: Any) -> list[int]:
    """Have lego answer with an exit code and output, or leave a certificate for the request's key; its calls."""
    calls: list[int] = []

    def lego(self: Any, account: Path, inputs: Path) -> tuple[int, str, str]:
        calls.append(1)
        if isinstance(answer, str):
            return 1, "", answer
        (account / "certificates").mkdir()
        (account / "certificates" / "www.example.com.crt").write_bytes(answer(inputs))
        return 0, "", ""

    monkeypatch.setattr(program.Certificate, "lego", lego)
    return calls


def test_a_self_signed_one_is_renewed_with_the_copy_of_the_probe(program: ModuleType, tmp_path: Path) -> None:
    found = certificate(program, tmp_path)
    (tmp_path / "copy.pem").write_text("old")
    assert found.ensure() == "there is none yet"
    assert found.ensure() == ""
    assert (tmp_path / "copy.pem").read_bytes() == found.found("certificate.pem") != b""
    assert not (tmp_path / "none.pem").exists()
    found.measure(False)
    assert "miniweb_certificate_renewal_failed 0" in (tmp_path / "miniweb_certificate.prom").read_text()


@pytest.mark.parametrize(
    ("kind", "days", "names", "reason"),
    [
        ("self_signed", 20, NAMES, "fewer than 30 days were left"),
        ("self_signed", 40, NAMES, ""),
        ("self_signed", 40, NAMES[:1], "its names were DNS:www.example.com"),
        # A third of a short time, though fewer than 30 days are left
        ("acme", 6, NAMES, ""),
        ("acme", 60, NAMES, ""),
        ("acme", 60, NAMES[1:], "its names were DNS:example.com"),
        ("given", 1, NAMES[:1], ""),
    ],
)
def test_when_a_new_one_is_due(
    program: ModuleType, tmp_path: Path, kind: str, days: int, names: list[str], reason: str
) -> None:
    found = certificate(program, tmp_path, kind)
    directory = found.kept if kind == "acme" else found.directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in zip(("certificate.pem", "private_key.pem"), issued(program, names, days), strict=True):
        (directory / name).write_bytes(content)
    assert found.due() == reason


def test_a_refusal_is_kept_for_an_hour_and_for_this_request_alone(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = has_lego_answer(
        monkeypatch, program, "2026/01/01 10:00:00 error: [www.example.com] acme: error: 403 :: refused"
    )
    with pytest.raises(program.RenewalError, match="403 :: refused"):
        certificate(program, tmp_path, "acme").ensure()
    with pytest.raises(program.RenewalError, match=r"403 :: refused \(next attempt at"):
        certificate(program, tmp_path, "acme").ensure()
    assert len(calls) == 1
    with pytest.raises(program.RenewalError, match=r"refused$"):
        certificate(program, tmp_path, "acme", email="other@example.com").ensure()
    state = json.loads(program.STATE.read_text())
    state["failed"]["time"] -= program.WAIT_SECONDS
    program.STATE.write_text(json.dumps(state))
    with pytest.raises(program.RenewalError, match=r"refused$"):
        certificate(program, tmp_path, "acme", email="other@example.com").ensure()
    assert len(calls) == 3


def test_a_certificate_for_another_key_is_not_used(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = certificate(program, tmp_path)
    before.ensure()
    has_lego_answer(monkeypatch, program, lambda inputs: issued(program, NAMES, 90)[0])
    found = certificate(program, tmp_path, "acme")
    with pytest.raises(program.RenewalError, match="cannot be used: its private key does not match"):
        found.ensure()
    assert not (found.kept / "certificate.pem").exists()
    assert found.found("certificate.pem") == before.found("certificate.pem")


@pytest.mark.parametrize("reuse", [True, False])
def test_what_is_issued_is_kept_and_put_in_place(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reuse: bool
) -> None:
    def sign(inputs: Path) -> bytes:
        ca, ca_key = issued(program, ["ca.example.com"], 900)
        (tmp_path / "ca.pem").write_bytes(ca)
        (tmp_path / "ca_key.pem").write_bytes(ca_key)
        words = [
            "openssl",
            "x509",
            "-req",
            "-in",
            str(inputs / "request.csr"),
            "-days",
            "90",
            "-copy_extensions",
            "copy",
        ]
        words += ["-CA", str(tmp_path / "ca.pem"), "-CAkey", str(tmp_path / "ca_key.pem"), "-CAcreateserial"]
        code, out, err = program.execute(words)
        assert code == 0, err
        return out.encode()

    has_lego_answer(monkeypatch, program, sign)
    found = certificate(program, tmp_path, "acme", reuse_key=reuse)
    assert found.ensure() == "there is none yet"
    assert found.ensure() == ""
    first = found.found("private_key.pem")
    assert found.due() == ""
    assert found.ensure(force=True) == "it was to be renewed"
    assert (found.found("private_key.pem") == first) is reuse
    # Somebody has put another one in its place.
    (found.directory / "certificate.pem").write_bytes(issued(program, NAMES, 90)[0])
    assert found.ensure() == "nginx had another one"


def test_what_lego_prints_is_told_in_short(program: ModuleType) -> None:
    output = (
        "2026/01/01 10:00:00 [INFO] acme: Registering account\n2026/01/01 10:00:01 Could not obtain certificates:\n"
    )
    output += "\terror: one or more domains had a problem:\n[a.example.com] acme: error: 403 :: urn:ietf:params:acme:error:unauthorized"
    assert program.refusal(output).endswith(
        "[a.example.com] acme: error: 403 :: urn:ietf:params:acme:error:unauthorized"
    )
    assert "Registering" not in program.refusal(output)
    assert program.refusal("") == "lego ended without saying why"
    assert program.clock(time.time()).startswith("at ")
