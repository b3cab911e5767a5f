"""One variable gives a server a proxy, for its packages, pulls and builds alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.miniweb.stack.plugins.action.check_input import Role
from role_templates import FACTS, ROLES, loaded, rendered, worked_out

PROXY = "http://proxy.example.com:3128"
SYSTEM = {"ansible_facts": FACTS, **loaded(ROLES / "miniweb", "defaults")}


@pytest.mark.parametrize(
    ("given", "engine", "programs"),
    [
        ({}, None, {}),
        (
            {"miniweb_http_proxy": PROXY},
            {"http-proxy": PROXY, "https-proxy": PROXY, "no-proxy": "localhost,127.0.0.1"},
            {"http_proxy": PROXY, "https_proxy": PROXY, "no_proxy": "localhost,127.0.0.1"},
        ),
        (
            {"docker_http_proxy": PROXY, "miniweb_no_proxy": [".example.com"]},
            {"http-proxy": PROXY, "https-proxy": PROXY, "no-proxy": ".example.com"},
            {"http_proxy": PROXY, "https_proxy": PROXY, "no_proxy": ".example.com"},
        ),
    ],
)
def test_the_engine_and_apt_get_it(given: dict[str, Any], engine: dict[str, str] | None, programs: Any) -> None:
    role = ROLES / "docker"
    configuration = worked_out(role, "{{ __docker_configuration }}", **SYSTEM | given)
    assert configuration.get("proxies") == engine
    assert worked_out(role, "{{ __docker_environment }}", **SYSTEM | given) == programs


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"docker_http_proxy": PROXY}, ""),
        ({"docker_http_proxy": "http://192.0.2.7:8080/", "docker_no_proxy": [".example.com", "10.0.0.0/8"]}, ""),
        ({"docker_http_proxy": "https://[2001:db8::7]:8080"}, ""),
        ({"docker_http_proxy": "proxy.example.com:3128"}, 'docker_http_proxy is "proxy.example.com:3128": set it to the URL'),
        ({"docker_http_proxy": "http://me:secret@proxy:3128"}, 'docker_http_proxy is "http://***@proxy:3128": set it'),
        ({"docker_http_proxy": f"{PROXY} {PROXY}"}, "docker_http_proxy is"),
        ({"docker_repository_url": "https://me:secret@apt/linux"}, 'docker_repository_url is "https://***@apt/linux": set'),
        ({"docker_no_proxy": ["localhost,127.0.0.1"]}, 'docker_no_proxy: "localhost,127.0.0.1" cannot be used'),
        ({"docker_no_proxy": [""]}, "docker_no_proxy: "),
    ],
)  # fmt: skip
def test_what_cannot_be_one_or_is_no_secret_is_refused(given: dict[str, Any], sentence: str) -> None:
    own = {**loaded(ROLES / "docker", "defaults", "vars"), "ansible_role_name": "docker", "inventory_hostname": "www"}
    role = Role(str(ROLES / "docker"), {**SYSTEM, **own, **given}, DataLoader())
    role.check()
    assert [problem for problem in role.problems if not problem.startswith(sentence or "-")] == []
    assert len(role.problems) == bool(sentence)
    assert "secret" not in str(role.problems)


@pytest.mark.parametrize("proxy", ["", PROXY])
def test_a_new_instance_installs_through_it(tmp_path: Path, proxy: str) -> None:
    given = {
        "__ec2_autoscale_packages": [],
        "__ec2_autoscale_region": "eu-central-1",
        "__ec2_autoscale_bucket": "bucket",
        "__ec2_autoscale_packed": {"digest": "d1"},
        "__ec2_autoscale_parameter": "/parameter",
        "__ec2_autoscale_stored": {"parameter_metadata": {"version": 1}},
        "ec2_autoscale_http_proxy": proxy,
    }
    script = rendered(ROLES / "ec2_autoscale", "user_data.sh.j2", **given).partition("python3 -m venv")[0]
    script = script.replace("/opt/miniweb-instance", str(tmp_path / "home"))
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$http_proxy|$https_proxy|$no_proxy"\n')
    (tmp_path / "apt-get").chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    told = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    expected = f"{PROXY}|{PROXY}|localhost,127.0.0.1,169.254.169.254" if proxy else "||"
    assert set(told.splitlines()) == {expected}
