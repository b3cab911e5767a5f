# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja test: does a private key belong to a certificate?"""

from __future__ import annotations

DOCUMENTATION = r"""
name: key_for
short_description: Whether a private key belongs to a certificate
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Compares the public key of a private key with that of a certificate, on the controller.
options:
  _input:
    description: Private key in PEM format, without a passphrase.
    type: str
    required: true
  certificate:
    description: Certificate in PEM format; of a chain the first one counts.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the certificate
  ansible.builtin.assert:
    that: nginx_private_key is miniweb.stack.key_for(nginx_certificate)
"""

RETURN = r"""
_value:
  description: True when they belong together. False when not, or when one of them is not readable as PEM.
  type: bool
"""

import typing as t


def key_for(private_key: str, certificate: str) -> bool:
    """Return whether the private key belongs to the certificate, both in PEM format."""
    # Imported here, so that ansible-doc can read the documentation without cryptography.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        key = load_pem_private_key(private_key.encode(), password=None).public_key()
        other = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    except (ValueError, TypeError):
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_bytes(*form) == other.public_bytes(*form)


class TestModule:
    """Test plugin."""

    def tests(self) -> dict[str, t.Callable[..., bool]]:
        """Return the tests by name."""
        return {"key_for": key_for}
