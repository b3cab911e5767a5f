"""What a prepared server depends on."""

from __future__ import annotations

from pathlib import Path

import pytest
from sandbox import prepared
from sandbox.paths import HOST_VARS


def test_a_server_depends_on_everything_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "roles/engine/tasks/main.yml": "- miniweb.stack.check_input:\n- miniweb.stack.daemon:\n    options: {}\n",
        "roles/engine/README.md": "See miniweb.stack.other.\n",
        "plugins/action/check_input.py": 'from ..plugin_utils.words import joined\nMODULE = "miniweb.stack.server"\n',
        "plugins/modules/check_input.py": "",
        "plugins/modules/server.py": "# See M(miniweb.stack.other).\n",
        "plugins/modules/other.py": "",
        "plugins/modules/daemon.py": "from ansible_collections.miniweb.stack.plugins.module_utils.deep.one import (\n    x,\n)\n",
        "plugins/plugin_utils/words.py": "from ansible_collections.miniweb.stack.plugins.module_utils import plain\n",
        "plugins/module_utils/plain.py": "",
        "plugins/module_utils/unused.py": "",
        "plugins/module_utils/deep/one.py": "",
        "plugins/module_utils/deep/two.py": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(prepared, "ROOT", tmp_path)
    found = prepared.made_of(tmp_path / "roles" / "engine") - {HOST_VARS}
    unused = {"roles/engine/README.md", "plugins/modules/other.py", "plugins/module_utils/unused.py"}
    assert {str(path.relative_to(tmp_path)) for path in found} == texts.keys() - unused
