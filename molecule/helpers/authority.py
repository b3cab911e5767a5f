"""Pebble, the test server of Let's Encrypt, on the test server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from testinfra.host import Host

from helpers.waiting import eventually

NAMES = ["www.example.com", "example.com"]
CONFIGURATION = {
    "pebble": {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/root/acme/certificate.pem",
        "privateKey": "/root/acme/private_key.pem",
        "httpPort": 80,
        "tlsPort": 443,
    }
}


@dataclass
class Authority:
    """Pebble on the test server, with a DNS server that knows every name."""

    host: Host
    address: str

    @property
    def variables(self) -> dict[str, Any]:
        """The role's variables for a certificate of this authority. The controller cannot resolve its names."""
        return {
            "nginx_acme_email": "admin@example.com",
            "nginx_acme_directory": f"https://{self.address}:14000/dir",
            "nginx_acme_ca": self.host.file("/root/acme/certificate.pem").content_string,
            "nginx_acme_try_names": False,
            "nginx_server_names": NAMES,
        }

    def start(self) -> None:
        """Start it, as a new authority."""
        dns = "pebble-challtestsrv -defaultIPv4 127.0.0.1 -defaultIPv6 '' -http01 '' -https01 '' -tlsalpn01 ''"
        acme = "env PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 pebble -config /root/acme/pebble.json -dnsserver 127.0.0.1:8053"
        for unit, command in (("acme-dns", dns), ("acme", acme)):
            self.host.check_output(f"systemd-run --unit={unit} {command}")
        assert eventually(lambda: self.host.run("curl -skf https://localhost:14000/dir").rc == 0)
        self.host.check_output("curl -skf https://localhost:15000/roots/0 > /root/acme/root.pem")

    def stop(self) -> None:
        """Stop it."""
        self.host.run("systemctl stop acme acme-dns; systemctl reset-failed acme acme-dns")

    def leads_to(self, name: str, address: str) -> None:
        """Have a name lead somewhere else."""
        data = json.dumps({"host": f"{name}.", "addresses": [address]})
        self.host.check_output("curl -sf -d %s http://localhost:8055/add-a", data)

    def orders(self) -> int:
        """How many orders it has had since it was started."""
        command = (
            "journalctl _SYSTEMD_INVOCATION_ID=$(systemctl show --value --property InvocationID acme) --no-pager -o cat"
        )
        return int(self.host.run(f"{command} | grep -c 'order-plz -> calling handler'").stdout)


@contextmanager
def running(host: Host) -> Iterator[Authority]:
    """Pebble, while the block runs."""
    host.check_output(
        "apt-get -o Acquire::Check-Valid-Until=false update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq pebble"
    )
    address = host.check_output("docker network inspect bridge --format '{{(index .IPAM.Config 0).Gateway}}'")
    host.check_output("mkdir -p /root/acme")
    host.check_output(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=acme -addext subjectAltName=DNS:localhost,IP:%s "
        "-keyout /root/acme/private_key.pem -out /root/acme/certificate.pem",
        address,
    )
    host.check_output(f"echo {shlex.quote(json.dumps(CONFIGURATION))} > /root/acme/pebble.json")
    found = Authority(host, address)
    found.start()
    yield found
    found.stop()


def trusted(host: Host, name: str) -> bool:
    """Whether a visitor who trusts the authority gets an answer by this name."""
    words = ["curl", "-s", "-o", "/dev/null", "--cacert", "/root/acme/root.pem", "--resolve", f"{name}:443:127.0.0.1"]
    return host.run(shlex.join([*words, f"https://{name}/"])).rc == 0
