#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide a TLS certificate and its key on the server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_certificate
short_description: Provide a TLS certificate and its key on the server
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Makes sure that C(certificate.pem) and C(private_key.pem) exist in a directory and match.
  - Without O(certificate) it creates a self-signed one on the server, and renews it before it expires, when the names
    change, or when the key does not match. The private key never leaves the server.
  - It does in one step, with only the C(openssl) program, what otherwise takes four modules of C(community.crypto) and
    Python's cryptography package on the server.
requirements:
  - the C(openssl) program on the server
options:
  directory:
    description: Directory of both files. It is created with mode 0755, and its parents with it.
    type: path
    required: true
  owner:
    description: Numeric user id of the program that reads the key; the key has mode 0400.
    type: int
    default: 0
  names:
    description: Subject alternative names, host names and IP addresses. The first is the common name.
    type: list
    elements: str
    default: []
  valid_days:
    description: Days a self-signed certificate is valid.
    type: int
    default: 397
  renew_days:
    description: A self-signed certificate with fewer days left is renewed.
    type: int
    default: 30
  keep:
    description:
      - Whether a certificate that matches its key is kept, whoever issued it, for which names, and until when, because something else
        renews it. A self-signed one is then created only if there is none that can be used.
    type: bool
    default: false
  certificate:
    description: Certificate and its chain in PEM format, instead of a self-signed one.
    type: str
  private_key:
    description: Private key of O(certificate) in PEM format, without a passphrase.
    type: str
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.settled
attributes:
  diff_mode:
    details: It shows why the certificate is renewed, and never the key.
"""

EXAMPLES = r"""
- name: Create a self-signed certificate for a name and an address
  miniweb.stack.tls_certificate:
    directory: /opt/miniweb/nginx/tls
    owner: 101
    names: [www.example.com, 203.0.113.10]
"""

RETURN = r"""
certificate:
  description: The certificate in PEM format. Empty in check mode when there is none yet.
  returned: always
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
reason:
  description: Why it was renewed or replaced. Empty when nothing changed.
  returned: always
  type: str
  sample: its names were localhost
"""

import os
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils import settled
from ansible_collections.miniweb.stack.plugins.module_utils.certificates import (
    CERTIFICATE,
    DAY_SECONDS,
    PRIVATE_KEY,
    CertificateError,
    OpenSSL,
    alternative_names,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    cause,
    read_file,
    write_file,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule

# What the two files are on the server, by name
Pair = dict[str, t.Optional[FileState]]


def openssl_of(module: ServerModule) -> OpenSSL:
    """Return the server's program."""
    return OpenSSL(module.run_command, module.get_bin_path("openssl", required=True))


def given(module: ServerModule, found: Pair) -> tuple[dict[str, bytes], str]:
    """Return the desired contents if certificate and key are given, and why they change, if they do."""
    parameters = {CERTIFICATE: "certificate", PRIVATE_KEY: "private_key"}
    wanted = {name: module.params[parameter].strip().encode() + b"\n" for name, parameter in parameters.items()}
    same = all(status and status.content == wanted[name] for name, status in found.items())
    return wanted, "" if same else "a different one was given"


def self_signed(module: ServerModule, found: Pair) -> tuple[dict[str, bytes], str]:
    """Return the desired contents if the certificate is generated here, and why it is replaced, if it is.

    In check mode, these are the current contents.
    """
    params = module.params
    if not params["names"]:
        module.fail_json(msg="names: the list is empty; give at least one host name or IP address.")
    names = alternative_names(params["names"])
    openssl = openssl_of(module)
    if params["keep"]:
        reason = openssl.mismatch(params["directory"])
    else:
        reason = openssl.fault(params["directory"], names, params["renew_days"])
    if reason and not module.check_mode:
        try:
            certificate, key = openssl.self_signed(names, params["valid_days"])
        except CertificateError as error:
            module.fail_json(msg=f"names: OpenSSL cannot create a certificate for {names}: {cause(str(error))}.")
        return {CERTIFICATE: certificate, PRIVATE_KEY: key}, reason
    return {name: status.content if status else b"" for name, status in found.items()}, reason


def write_files(directory: str, files: dict[str, FileState]) -> None:
    """Write the files, and create their directory if it does not exist."""
    if not os.path.isdir(directory):
        os.makedirs(directory)
        # Regardless of the umask, because programs that do not run as root read the certificate.
        os.chmod(directory, 0o755)
    for name, file in files.items():
        write_file(os.path.join(directory, name), file)


def note(module: ServerModule, certificate: str) -> None:
    """Record that the certificate is valid until it has to be renewed."""
    directory = module.params["directory"]
    conditions = settled.files(directory, *(os.path.join(directory, name) for name in (CERTIFICATE, PRIVATE_KEY)))
    if not module.params["certificate"] and not module.params["keep"]:
        end = openssl_of(module).period(directory)[1]
        conditions.append(settled.until(end - module.params["renew_days"] * DAY_SECONDS))
    result = {"reason": "", "certificate": certificate}
    settled.Notes(module).write(f"tls_certificate/{directory}", module.params["settled"], conditions, result)


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "owner": {"type": "int", "default": 0},
            "names": {"type": "list", "elements": "str", "default": []},
            "valid_days": {"type": "int", "default": 397},
            "renew_days": {"type": "int", "default": 30},
            "keep": {"type": "bool", "default": False},
            "certificate": {"type": "str"},
            "private_key": {"type": "str", "no_log": True},
            **settled.SETTLED_SPEC,
        },
        required_together=[("certificate", "private_key")],
        required_one_of=[("certificate", "names")],
        supports_check_mode=True,
    )
    directory, owner = module.params["directory"], module.params["owner"]
    found = {name: read_file(os.path.join(directory, name)) for name in (CERTIFICATE, PRIVATE_KEY)}
    wanted, reason = (given if module.params["certificate"] else self_signed)(module, found)
    files = {
        PRIVATE_KEY: FileState(wanted[PRIVATE_KEY], 0o400, owner, owner),
        CERTIFICATE: FileState(wanted[CERTIFICATE], 0o644),
    }
    changed = bool(reason) or found != files
    if not module.check_mode:
        if changed:
            write_files(directory, files)
        note(module, wanted[CERTIFICATE].decode())
    result: dict[str, t.Any] = {"changed": changed, "reason": reason, "certificate": wanted[CERTIFICATE].decode()}
    if module._diff and changed:
        result["diff"] = {"before": f"{reason or 'its permissions differ'}\n", "after": "a valid certificate\n"}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
