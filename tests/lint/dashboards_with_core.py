"""Evaluate the dashboards that roles contribute with this ansible-core: python dashboards_with_core.py ROLES COLLECTIONS.

Prints the role, file extension and content of each one as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.release import __version__
from ansible.template import Templar

trusted = {"trusted_as_template": True} if tuple(map(int, __version__.split(".")[:2])) >= (2, 19) else {}
found = []
roles, collections = Path(sys.argv[1]), sys.argv[2]
init_plugin_loader([collections])
for role in sorted(roles.iterdir()):
    loader = DataLoader()
    variables = {
        "ansible_facts": {"env": {}, "service_mgr": "systemd"},
        "ansible_search_path": [str(role)],
        "inventory_hostname": "www",
        "role_path": str(role),
    }
    for kind in ("defaults", "vars"):
        for path in sorted([*role.glob(f"{kind}/main.yml"), *role.glob(f"{kind}/main/*.yml")]):
            variables |= loader.load_from_file(str(path), **trusted) or {}
    templar = Templar(loader, variables=variables)
    items = [
        item for value in variables.values() if isinstance(value, list) for item in value if isinstance(item, dict)
    ]
    for item in items:
        if item.get("reader") == "grafana":
            found.append([role.name, item["ext"], templar.template(item["content"])])
print(json.dumps(found))
