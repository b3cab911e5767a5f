"""tls_certificate: names, and real certificates."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils import certificates

NAMES = ["www.example.com", "203.0.113.10", "2001:DB8::1"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("www.Example.com", "DNS:www.example.com"),
        ("203.0.113.10", "IP:203.0.113.10"),
        ("2001:DB8:0::1", "IP:2001:db8::1"),
        ("*.example.com", "DNS:*.example.com"),
    ],
)
def test_alternative_name(name: str, written: str) -> None:
    assert certificates.alternative_name(name) == written


def test_names_in() -> None:
    text = (
        "subject=CN = a\nissuer=CN = a\nX509v3 Subject Alternative Name: \n"
        "    DNS:A.example, IP Address:127.0.0.1, IP Address:2001:DB8:0:0:0:0:0:1\n"
    )
    assert certificates.names_in(text) == {"DNS:a.example", "IP:127.0.0.1", "IP:2001:db8::1"}
    assert certificates.names_in("No extensions in certificate\n") == set()


@pytest.fixture
def make(run_module, tmp_path: Path):
    def make(**arguments):
        defaults = {"directory": str(tmp_path / "tls"), "owner": os.getuid(), "names": NAMES}
        return run_module("tls_certificate", **{**defaults, **arguments})

    return make


def test_new_and_second_run(make, tmp_path: Path) -> None:
    first = make()
    assert first["reason"] == "there is none yet"
    key, certificate = tmp_path / "tls" / "private_key.pem", tmp_path / "tls" / "certificate.pem"
    assert key.stat().st_mode & 0o777 == 0o400
    assert certificate.stat().st_mode & 0o777 == 0o644
    assert first["certificate"] == certificate.read_text()
    assert "PRIVATE" not in str(first)
    second = make()
    assert (second["changed"], second["certificate"]) == (False, first["certificate"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"names": ["other.example.com"]}, "its names were DNS:www.example.com, IP:2001:db8::1, IP:203.0.113.10"),
        ({"renew_days": 400}, "fewer than 400 days were left"),
    ],
)
def test_recreated(make, arguments: dict, reason: str) -> None:
    before = make()
    after = make(**arguments)
    assert after["reason"] == reason
    assert after["certificate"] != before["certificate"]


def test_order_and_spelling_of_names_do_not_matter(make) -> None:
    make()
    assert not make(names=["2001:db8:0::1", "WWW.example.com", "203.0.113.10"])["changed"]


def test_another_key(make, tmp_path: Path) -> None:
    make()
    make(directory=str(tmp_path / "other"))
    shutil.copy(tmp_path / "other" / "private_key.pem", tmp_path / "tls" / "private_key.pem")
    assert make()["reason"] == "its private key does not match"


def test_damaged(make, tmp_path: Path) -> None:
    make()
    (tmp_path / "tls" / "certificate.pem").write_text("damaged")
    assert make()["reason"] == "it is not readable"


def test_permissions_alone(make, tmp_path: Path) -> None:
    before = make()
    (tmp_path / "tls" / "private_key.pem").chmod(0o644)
    after = make()
    assert (after["changed"], after["reason"], after["certificate"]) == (True, "", before["certificate"])
    assert (tmp_path / "tls" / "private_key.pem").stat().st_mode & 0o777 == 0o400


def test_programs_that_are_not_root_read_the_certificate_whatever_the_umask(make, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make()
    finally:
        os.umask(before)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o755


def test_own_certificate(make, tmp_path: Path) -> None:
    given = make(directory=str(tmp_path / "given"))["certificate"]
    own = {"certificate": given, "private_key": (tmp_path / "given" / "private_key.pem").read_text()}
    make()
    assert make(**own)["reason"] == "a different one was given"
    assert (tmp_path / "tls" / "certificate.pem").read_text() == given
    assert not make(**own)["changed"]


def test_check_mode_writes_nothing(make, tmp_path: Path) -> None:
    result = make(check_mode=True)
    assert (result["changed"], result["certificate"]) == (True, "")
    assert not (tmp_path / "tls").exists()


def test_no_names(make) -> None:
    assert make(names=[])["msg"] == "names: the list is empty; give at least one host name or IP address."
