# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""TLS certificates, by the ``openssl`` program.

The module tls_certificate uses it, and so does the program that renews certificates on the server, where this file is copied
next to it. So it imports nothing but Python's standard library.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import tempfile
import typing as t

CERTIFICATE = "certificate.pem"
PRIVATE_KEY = "private_key.pem"
DAY_SECONDS = 86400
MISSING = "there is none yet"

CONFIGURATION = """\
[req]
distinguished_name = subject
prompt = no
[subject]
CN = {common_name}
[self_signed]
subjectAltName = {names}
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
[request]
subjectAltName = {names}
"""
KEY_TYPES = {
    "ec256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    "ec384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp384r1"),
    "rsa2048": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsa4096": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"),
}

# Runs a program; returns its exit code, output and errors
Execute = t.Callable[[list[str]], tuple[int, str, str]]


class CertificateError(Exception):
    """OpenSSL refuses; the message is what it printed."""


def alternative_name(name: str) -> str:
    """Return a host name or IP address as OpenSSL writes it in a configuration, ``DNS:…`` or ``IP:…``."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name.lower()}"


def alternative_names(names: t.Iterable[str]) -> list[str]:
    """Return each name once, as OpenSSL writes it in a configuration."""
    return list(dict.fromkeys(alternative_name(name) for name in names))


def names_in(extension: str) -> set[str]:
    """Return the names in the output of ``openssl x509 -ext subjectAltName``."""
    names = set()
    for kind, value in re.findall(r"(DNS|IP Address):([^,\s]+)", extension):
        names.add(alternative_name(value) if kind == "IP Address" else f"DNS:{value.lower()}")
    return names


class OpenSSL:
    """The ``openssl`` program.

    :param execute: runs a program.
    :param program: its path.
    """

    def __init__(self, execute: Execute, program: str = "openssl") -> None:
        self.execute = execute
        self.program = program

    def run(self, *words: str) -> tuple[int, str]:
        """Run it with these arguments; return its exit code and output."""
        code, out, err = self.execute([self.program, *words])
        return code, out if code == 0 else err

    def made(self, *words: str) -> str:
        """Run it with these arguments and return its output.

        :raises CertificateError: it failed.
        """
        code, out = self.run(*words)
        if code:
            raise CertificateError(out.strip())
        return out

    def mismatch(self, directory: str) -> str:
        """Return why certificate and key in a directory cannot be used together; empty if they can."""
        certificate, key = os.path.join(directory, CERTIFICATE), os.path.join(directory, PRIVATE_KEY)
        if not os.path.exists(certificate) or not os.path.exists(key):
            return MISSING
        code, public = self.run("x509", "-in", certificate, "-noout", "-pubkey")
        if code:
            return "it is not readable"
        if self.run("pkey", "-in", key, "-pubout") != (0, public):
            return "its private key does not match"
        return ""

    def fault(self, directory: str, names: t.Iterable[str], renew_days: int) -> str:
        """Return why the self-signed certificate in a directory has to be replaced; empty if it is valid.

        :param names: as ``alternative_names`` returns them.
        """
        return (
            self.mismatch(directory)
            or ("" if self.is_self_signed(directory) else "it is not self-signed")
            or self.other_names(directory, names)
            or self.expiring(directory, renew_days * DAY_SECONDS)
        )

    def is_self_signed(self, directory: str) -> bool:
        """Return whether the certificate in a directory was issued by its own subject."""
        code, out = self.run("x509", "-in", os.path.join(directory, CERTIFICATE), "-noout", "-subject", "-issuer")
        subject, issuer = (re.search(rf"^{word}=(.*)$", out, re.M) for word in ("subject", "issuer"))
        return not code and subject is not None and issuer is not None and subject[1] == issuer[1]

    def other_names(self, directory: str, names: t.Iterable[str]) -> str:
        """Return which names the certificate in a directory has instead of these; empty if it has these."""
        path = os.path.join(directory, CERTIFICATE)
        found = names_in(self.run("x509", "-in", path, "-noout", "-ext", "subjectAltName")[1])
        return "" if found == set(names) else f"its names were {', '.join(sorted(found)) or 'none'}"

    def expiring(self, directory: str, seconds: int) -> str:
        """Return that the certificate in a directory expires within a time; empty if it does not."""
        path = os.path.join(directory, CERTIFICATE)
        if not self.run("x509", "-in", path, "-noout", "-checkend", str(seconds))[0]:
            return ""
        days = seconds / DAY_SECONDS
        return (
            f"fewer than {days:.0f} days were left" if days >= 1 else f"less than {seconds / 3600:.1f} hours were left"
        )

    def period(self, directory: str) -> tuple[int, int]:
        """Return from when to when the certificate in a directory is valid, in seconds since 1970."""
        out = self.run("x509", "-in", os.path.join(directory, CERTIFICATE), "-noout", "-startdate", "-enddate")[1]
        dates = dict(line.split("=", 1) for line in out.strip().splitlines())
        return ssl.cert_time_to_seconds(dates["notBefore"]), ssl.cert_time_to_seconds(dates["notAfter"])

    def self_signed(self, names: list[str], valid_days: int) -> tuple[bytes, bytes]:
        """Create a self-signed certificate and a key; return both in PEM format.

        :param names: as ``alternative_names`` returns them.
        :raises CertificateError: OpenSSL refuses the names.
        """
        key = self.key("ec256")
        words = ("-x509", "-sha256", "-days", str(valid_days), "-extensions", "self_signed")
        return self._requested(names, key, *words), key

    def key(self, kind: str) -> bytes:
        """Create a private key of one of KEY_TYPES; return it in PEM format.

        :raises CertificateError: OpenSSL fails.
        """
        return self.made("genpkey", *KEY_TYPES[kind]).encode()

    def request(self, names: list[str], key: bytes) -> bytes:
        """Return a certificate signing request in PEM format.

        :param names: as ``alternative_names`` returns them.
        :raises CertificateError: OpenSSL refuses the names or the key.
        """
        return self._requested(names, key, "-reqexts", "request")

    def _requested(self, names: list[str], key: bytes, *words: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            configuration, private = os.path.join(directory, "openssl.cnf"), os.path.join(directory, PRIVATE_KEY)
            with open(configuration, "w", encoding="utf-8") as stream:
                # X.509 limits a common name to 64 characters; the alternative names are what clients compare.
                common_name = names[0].split(":", 1)[1][:64]
                stream.write(CONFIGURATION.format(common_name=common_name, names=", ".join(names)))
            with open(private, "wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(key)
            return self.made("req", "-new", "-config", configuration, "-key", private, *words).encode()
