"""What the tests of several scenarios share."""

import pytest

# Their assertions then report the values that they compare, as those in test files do.
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("hypervisor", "playbooks", "service", "web")))
