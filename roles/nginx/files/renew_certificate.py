# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Renew nginx's certificate in time, have nginx load it, and give the probe its copy. Run by a timer and by the role nginx.

A self-signed certificate is made here. One from an ACME authority is obtained by lego in a container, for a key and a request
that are made here. It is kept in a directory of the authority's own, checked there, and only then put in nginx's place, so every
failure leaves the site as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

# Next to this program are copies of the collection's module_utils.
from certificates import (
    CERTIFICATE,
    DAY_SECONDS,
    PRIVATE_KEY,
    CertificateError,
    OpenSSL,
    alternative_names,
)
from server_files import FileState, locked, write_file
from waiting import until

DIRECTORY = Path(__file__).parent
SETTINGS = DIRECTORY / "settings.json"
STATE = DIRECTORY / "state.json"
CONTAINER = "miniweb-certificate"
LEGO_SECONDS = 900
DOCKER_SECONDS = 60
LOAD_SECONDS = 30
# Authorities allow few failures in an hour.
WAIT_SECONDS = 3600
# A certificate of an authority that is valid for a short time is renewed when this part of it is left.
LEFT_PART = 3
# What an authority answers that has forgotten an account, as staging ones do now and then
UNKNOWN_ACCOUNT = "urn:ietf:params:acme:error:accountDoesNotExist"
METRICS = """\
# HELP miniweb_certificate_renewal_failed Whether the last attempt to renew the certificate of nginx failed
# TYPE miniweb_certificate_renewal_failed gauge
miniweb_certificate_renewal_failed {failed}
# HELP miniweb_certificate_not_after_timestamp_seconds When the certificate of nginx expires
# TYPE miniweb_certificate_not_after_timestamp_seconds gauge
miniweb_certificate_not_after_timestamp_seconds {end}
"""


class RenewalError(Exception):
    """There is no new certificate, or nginx does not load it; the message says why."""


def execute(words: list[str], seconds: int = DOCKER_SECONDS) -> tuple[int, str, str]:
    """Run a program; return its exit code, output and errors."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return 124, "", f"`{words[0]} {words[1]}` did not end within {seconds} s"
    return done.returncode, done.stdout, done.stderr


def write(path: Path, content: bytes, mode: int, owner: int = 0) -> None:
    """Write a file that belongs to a user and group of the same number."""
    write_file(str(path), FileState(content, mode, owner, owner))


class Certificate:
    """The certificate that nginx is to have.

    :param settings: what settings.json contains.
    """

    def __init__(self, settings: dict[str, t.Any]) -> None:
        self.settings = settings
        self.openssl = OpenSSL(execute)
        self.names = alternative_names(settings["names"])
        self.directory = Path(settings["directory"])
        self.acme: dict[str, t.Any] = settings["acme"]
        self.state: dict[str, t.Any] = json.loads(STATE.read_text()) if STATE.exists() else {}

    # -- what is to be done -------------------------------------------------------------------------------------------

    @property
    def kept(self) -> Path:
        """Where the certificate of the authority is kept, apart from that of every other authority."""
        host = re.sub(r"[^a-z0-9]+", "-", self.acme["directory_url"].lower().partition("://")[2]).strip("-")
        return DIRECTORY / "acme" / host

    def due(self) -> str:
        """Return why a new certificate is needed; empty if none is."""
        if self.settings["kind"] == "acme":
            kept = str(self.kept)
            return (
                self.openssl.mismatch(kept)
                or self.openssl.other_names(kept, self.names)
                or self.openssl.expiring(kept, self.renewed_before_end(kept))
            )
        if self.settings["kind"] == "self_signed":
            return self.openssl.fault(str(self.directory), self.names, self.settings["renew_days"])
        return ""

    def renewed_before_end(self, directory: str) -> int:
        """Return how many seconds before its end the certificate in a directory is renewed."""
        start, end = self.openssl.period(directory)
        asked = self.settings["renew_days"] * DAY_SECONDS
        return min(asked, (end - start) // LEFT_PART) if self.settings["kind"] == "acme" else asked

    def in_place(self) -> bool:
        """Return whether nginx has the certificate that is kept."""
        if self.settings["kind"] != "acme":
            return True
        return all((self.kept / name).read_bytes() == self.found(name) for name in (CERTIFICATE, PRIVATE_KEY))

    def found(self, name: str) -> bytes:
        """Return one of nginx's two files; empty if there is none."""
        path = self.directory / name
        return path.read_bytes() if path.exists() else b""

    @property
    def request_hash(self) -> str:
        """A hash of everything on which the answer of the authority depends."""
        return hashlib.sha256(json.dumps([self.names, self.acme], sort_keys=True).encode()).hexdigest()

    def wait_until(self) -> float:
        """Return when the authority may be asked again after a failure, in seconds since 1970; 0 if now."""
        failed = self.state.get("failed") or {}
        if self.settings["kind"] != "acme" or failed.get("request") != self.request_hash:
            return 0
        end = failed["time"] + WAIT_SECONDS
        return end if time.time() < end else 0

    # -- a new certificate --------------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Make or obtain a new certificate.

        :raises RenewalError: there is none.
        """
        if self.settings["kind"] == "self_signed":
            try:
                certificate, key = self.openssl.self_signed(self.names, self.settings["valid_days"])
            except CertificateError as error:
                raise RenewalError(f"OpenSSL cannot create a certificate: {error}") from None
            self.put_in_place(certificate, key)
            return
        end = self.wait_until()
        if end:
            failed = self.state["failed"]
            raise RenewalError(
                f"{failed['error']} (next attempt {clock(end)}, as authorities allow few failures in an hour)"
            )
        try:
            self.obtain()
        except RenewalError as error:
            self.save({"time": time.time(), "request": self.request_hash, "error": str(error)})
            raise
        self.save(None)

    def save(self, failed: dict[str, t.Any] | None) -> None:
        """Record whether the last request failed."""
        self.state = {**self.state, "failed": failed}
        write(STATE, json.dumps(self.state, indent=2).encode(), 0o600)

    def obtain(self) -> None:
        """Obtain a certificate from the authority, check it, and keep it.

        :raises RenewalError: it refuses, does not answer, or issues something else.
        """
        account = self.kept / "lego"
        account.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(account, self.settings["owner"], self.settings["owner"])
        # The account stays, but one of an earlier request must not be taken for the new one.
        earlier = account / "certificates"
        if earlier.exists():
            shutil.rmtree(earlier)
        key_file = self.kept / PRIVATE_KEY
        try:
            key = key_file.read_bytes() if self.acme["reuse_key"] and key_file.exists() else b""
            key = key or self.openssl.key(self.acme["key_type"])
            request = self.openssl.request(self.names, key)
        except CertificateError as error:
            raise RenewalError(f"OpenSSL cannot create the request: {error}") from None
        with tempfile.TemporaryDirectory(dir=self.kept) as inputs:
            self.hand_over(Path(inputs), {"request.csr": request, "ca.pem": self.acme["ca"].encode()})
            code, out, err = self.lego(account, Path(inputs))
            if code and UNKNOWN_ACCOUNT in out + err:
                shutil.rmtree(account / "accounts")
                code, out, err = self.lego(account, Path(inputs))
        if code:
            raise RenewalError(refusal(out + err))
        issued = [path for path in account.glob("certificates/*.crt") if not path.name.endswith(".issuer.crt")]
        if not issued:
            raise RenewalError("lego ended without an error, but has left no certificate")
        self.keep(issued[0].read_bytes(), key)

    def hand_over(self, directory: Path, files: dict[str, bytes]) -> None:
        """Write what lego reads, for its user alone."""
        owner = self.settings["owner"]
        os.chown(directory, owner, owner)
        # A number or a truth value as lego reads it
        given = {
            name: (value if isinstance(value, str) else json.dumps(value)).encode()
            for name, value in self.acme["dns_environment"].items()
        }
        for name, content in {**files, **given}.items():
            write(directory / name, content, 0o400, owner)

    def lego(self, account: Path, inputs: Path) -> tuple[int, str, str]:
        """Run lego in a container; return its exit code, output and errors."""
        acme, owner = self.acme, self.settings["owner"]
        environment = {f"{name}_FILE": f"/inputs/{name}" for name in acme["dns_environment"]}
        if acme["ca"]:
            environment["LEGO_CA_CERTIFICATES"] = "/inputs/ca.pem"
        if acme["http_proxy"]:
            environment.update(HTTP_PROXY=acme["http_proxy"], HTTPS_PROXY=acme["http_proxy"])
        words = [
            "docker",
            "run",
            "--rm",
            "--name",
            CONTAINER,
            "--network",
            acme["network"],
            "--user",
            f"{owner}:{owner}",
        ]
        words += [
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges:true",
            "--log-driver",
            "none",
        ]
        words += ["--memory", "128m", "--pids-limit", "128"]
        words += ["--volume", f"{account}:/account", "--volume", f"{inputs}:/inputs:ro"]
        words += ["--volume", f"{acme['challenge_directory']}:/challenge"]
        words += [word for name, value in sorted(environment.items()) for word in ("--env", f"{name}={value}")]
        words += [acme["image"], "--accept-tos", "--path", "/account", "--server", acme["directory_url"]]
        words += ["--email", acme["email"], "--csr", "/inputs/request.csr", *acme["options"]]
        provider = acme["dns_provider"]
        words += ["--dns", provider] if provider else ["--http", "--http.webroot", "/challenge"]
        execute(["docker", "rm", "--force", CONTAINER])
        try:
            return execute([*words, "run"], LEGO_SECONDS)
        finally:
            execute(["docker", "rm", "--force", CONTAINER])

    def keep(self, certificate: bytes, key: bytes) -> None:
        """Keep a certificate of the authority and its key.

        :raises RenewalError: it does not belong to the key, or is for other names.
        """
        with tempfile.TemporaryDirectory(dir=self.kept) as checked:
            write(Path(checked, CERTIFICATE), certificate, 0o644)
            write(Path(checked, PRIVATE_KEY), key, 0o600)
            fault = self.openssl.mismatch(checked) or self.openssl.other_names(checked, self.names)
            if fault:
                raise RenewalError(f"the authority has issued a certificate that cannot be used: {fault}")
            for name in (PRIVATE_KEY, CERTIFICATE):
                os.replace(Path(checked, name), self.kept / name)

    # -- nginx --------------------------------------------------------------------------------------------------------

    def put_in_place(self, certificate: bytes, key: bytes) -> None:
        """Have nginx use a certificate; if it does not load it, restore the one before.

        :raises RenewalError: it does not load it.
        """
        before = {name: self.found(name) for name in (PRIVATE_KEY, CERTIFICATE)}
        with locked(self.settings["lock"]):
            self.write_pair({PRIVATE_KEY: key, CERTIFICATE: certificate})
            try:
                self.load()
            except RenewalError:
                if all(before.values()):
                    self.write_pair(before)
                    with contextlib.suppress(RenewalError):
                        self.load()
                raise

    def write_pair(self, pair: dict[str, bytes]) -> None:
        """Write nginx's two files, and the copy of the certificate that the probe trusts."""
        write(self.directory / PRIVATE_KEY, pair[PRIVATE_KEY], 0o400, self.settings["owner"])
        write(self.directory / CERTIFICATE, pair[CERTIFICATE], 0o644)
        for copy in (Path(path) for path in self.settings["copies"]):
            if copy.exists():
                write(copy, pair[CERTIFICATE], 0o400, copy.stat().st_uid)

    def load(self) -> None:
        """Have nginx load its files. If it is not running, it will when it starts.

        :raises RenewalError: it refuses them, or still presents another certificate.
        """
        container = self.container()
        if not container:
            return
        for command in (["nginx", "-t"], ["nginx", "-s", "reload"]):
            code, out, err = execute(["docker", "exec", container, *command])
            if code:
                raise RenewalError(f"nginx refuses the new certificate: {(err or out).strip()}")
        wanted = ssl.PEM_cert_to_DER_cert(first_of(self.found(CERTIFICATE).decode()))
        if not until(lambda: presented(self.settings["port"]) == wanted, LOAD_SECONDS):
            raise RenewalError(
                f"nginx still presents another certificate {LOAD_SECONDS} s after it was to load the new one"
            )

    def container(self) -> str:
        """Return the ID of the running container of nginx; empty if there is none."""
        labels = [
            f"label=com.docker.compose.project={self.settings['project']}",
            "label=com.docker.compose.oneoff=False",
        ]
        filters = [word for label in labels for word in ("--filter", label)]
        code, out, err = execute(["docker", "ps", "--quiet", "--no-trunc", "--filter", "status=running", *filters])
        if code:
            raise RenewalError(f"Docker does not answer: {err.strip()}")
        return out.partition("\n")[0]

    # -- a whole run --------------------------------------------------------------------------------------------------

    def ensure(self, force: bool = False) -> str:
        """Renew the certificate if that is due; return why it was renewed or put in place, empty if nothing was done.

        :raises RenewalError: that is not possible.
        """
        reason = self.due() or ("it was to be renewed" if force and self.settings["kind"] != "given" else "")
        if reason:
            self.renew()
        if not self.in_place():
            self.put_in_place(*((self.kept / name).read_bytes() for name in (CERTIFICATE, PRIVATE_KEY)))
            reason = reason or "nginx had another one"
        return reason

    def trusted(self) -> bool:
        """Return whether nginx has a valid certificate of the authority for all names."""
        directory = str(self.directory)
        return not (
            self.openssl.mismatch(directory)
            or self.openssl.other_names(directory, self.names)
            or self.openssl.expiring(directory, 0)
            or self.openssl.is_self_signed(directory)
        )

    def measure(self, failed: bool) -> None:
        """Leave the result for node_exporter, if it reads such files."""
        directory = Path(self.settings["metrics_directory"] or os.devnull)
        if directory.is_dir() and not self.openssl.mismatch(str(self.directory)):
            end = self.openssl.period(str(self.directory))[1]
            write(directory / "miniweb_certificate.prom", METRICS.format(failed=int(failed), end=end).encode(), 0o644)


def first_of(chain: str) -> str:
    """Return the first certificate of a chain in PEM format."""
    return chain[: chain.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]


def presented(port: int) -> bytes:
    """Return the certificate that nginx presents on this server, in DER format; empty if it does not answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain) as secure:
            return secure.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def refusal(output: str) -> str:
    """Return the lines of lego's output that say why there is no certificate."""
    lines = [
        re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", "", line).strip() for line in output.splitlines() if line.strip()
    ]
    telling = [
        line for line in lines if re.search(r"\berror\b|urn:ietf:params:acme", line, re.I) and "[INFO]" not in line
    ]
    return "; ".join(dict.fromkeys(telling[-3:] or lines[-1:])).rstrip(".") or "lego ended without saying why"


def clock(moment: float) -> str:
    """Return a time of this server's day with its time zone."""
    return time.strftime("at %H:%M %Z", time.localtime(moment))


def look(certificate: Certificate) -> dict[str, t.Any]:
    """Return what a run would do: why, whether it would ask the authority, and until when the certificate is valid."""
    reason = certificate.due()
    found: dict[str, t.Any] = {"reason": reason, "asks": False, "renew_at": 0}
    if reason:
        found["asks"] = certificate.settings["kind"] == "acme" and not certificate.wait_until()
    else:
        kept = str(certificate.kept if certificate.settings["kind"] == "acme" else certificate.directory)
        found["renew_at"] = certificate.openssl.period(kept)[1] - certificate.renewed_before_end(kept)
        found["reason"] = "" if certificate.in_place() else "nginx had another one"
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="renew the certificate although it is not due")
    parser.add_argument("--look", action="store_true", help="print as JSON what would be done")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    with locked(str(DIRECTORY / ".lock")):
        certificate = Certificate(json.loads(SETTINGS.read_text()))
        if arguments.look:
            print(json.dumps(look(certificate)))
            return
        error = reason = ""
        try:
            reason = certificate.ensure(arguments.force)
        except (RenewalError, OSError) as failure:
            error = str(failure)
        certificate.measure(bool(error))
        if arguments.json:
            print(json.dumps({**look(certificate), "reason": reason, "error": error, "trusted": certificate.trusted()}))
        elif error:
            sys.exit(f"The certificate of nginx cannot be renewed: {error}.")


if __name__ == "__main__":
    main()
