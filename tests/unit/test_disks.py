"""Which file systems count as the server's disks, and so have an alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles" / "node_exporter"
VOLUMES = "/var/lib/docker/volumes"


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    return yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())


@pytest.mark.parametrize(
    ("path", "kind", "disk"),
    [
        ("/", "ext4", True),
        ("/", "overlay", True),
        ("/boot", "ext4", True),
        ("/var", "xfs", True),
        ("/var/lib/docker", "ext4", True),
        (VOLUMES, "ext4", True),
        (f"{VOLUMES}/miniweb-mysql_data", "ext4", True),
        (f"{VOLUMES}/miniweb-mysql_data/_data", "ext4", True),
        (f"{VOLUMES}/miniweb-prometheus_data/_data", "btrfs", True),
        ("/srv/docker", "ext4", True),
        ("/opt/miniweb", "ext4", True),
        ("/var/lib/containerd", "ext4", True),
        ("/var/lib/docker/overlay2/4f5a/merged", "overlay", False),
        ("/var/lib/docker/rootfs/overlayfs/4f5a", "overlay", False),
        ("/srv/docker/overlay2/4f5a/merged", "overlay", False),
        ("/srv/docker/containers/4f5a/mounts/shm", "tmpfs", False),
        ("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs", "overlay", False),
        ("/run", "tmpfs", False),
        ("/dev/shm", "tmpfs", False),
        ("/etc/resolv.conf", "ext4", False),
        ("/proc", "proc", False),
    ],
)
def test_what_is_a_disk(defaults: dict[str, Any], path: str, kind: str, disk: bool) -> None:
    excluded = re.search(defaults["node_exporter_mount_points_exclude"], path)
    assert (not excluded and kind not in defaults["node_exporter_file_systems_exclude"]) == disk
