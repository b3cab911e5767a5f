"""installed: is a collection there, and new enough?"""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.miniweb.stack.plugins.test import installed as plugin
from ansible_collections.miniweb.stack.plugins.test.installed import installed


@pytest.mark.parametrize(
    ("requirement", "found"),
    [
        ("amazon.aws", True),
        ("amazon.aws:>=10.1.0", True),
        ("amazon.aws:>=9.99.99", True),
        ("amazon.aws:>=999.0.0", False),
        ("amazon.nothing", False),
        ("nobody.nothing:>=1.0.0", False),
        # This tree was not built as a package, so it has no version.
        ("miniweb.stack:>=999.0.0", True),
    ],
)
def test_installed(requirement: str, found: bool) -> None:
    assert installed(requirement) is found


@pytest.mark.parametrize("requirement", ["amazon.aws:10.1.0", "amazon.aws:<11.0.0", "amazon.aws:"])
def test_another_form_is_refused(requirement: str) -> None:
    with pytest.raises(AnsibleFilterError, match="is not of the form namespace.name:>=version"):
        installed(requirement)


def test_name() -> None:
    assert plugin.TestModule().tests() == {"installed": installed}
