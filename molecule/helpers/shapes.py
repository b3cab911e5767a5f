"""Secrets of every shape, and the search for them in what a server tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

SHAPES = {
    "plain": "correct-horse-battery",
    "a line break": "correct-horse\nbattery-staple",
    "a line break at the end": "correct-horse-battery\n",
    "CR and LF": "correct-horse\r\nbattery-staple",
    "a tab": "correct-horse\tbattery-staple",
    "a backslash": "correct-horse\\battery-staple",
    "a single quote": "correct-horse'battery-staple",
    "a double quote": 'correct-horse"battery-staple',
    "both quotes": "correct-horse'battery\"staple",
    "not ASCII": "correct-höree-bättery-🔋",
    "a control character": "correct-horse\x01battery-staple",
    "an at sign": "correct:horse@battery-staple",
    "dollars and percent": "correct$horse${battery}%s;staple",
    "blanks around": "  correct-horse-battery  ",
    "digits": "4815162342108",
    "a PEM key": "-----BEGIN PRIVATE KEY-----\n"
    + "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49\n" * 3
    + "-----END PRIVATE KEY-----\n",
    "JSON": json.dumps({"token": "correct-horse", "path": "C:\\battery"}),
    "an option file": '[client]\nuser=app\npassword="correct\'horse\\\\battery"\n',
}
NO_SECRET = re.compile(r"-----.*|\[client\]|user=app|password=")


def forms(secret: str) -> set[str]:
    """A secret, its telling parts, and how Python and JSON write them."""
    parts = {secret, *re.split(r"[\n\r\t\x01\\'\"]", secret)}
    parts = {part for part in parts if len(part) > 8 and not NO_SECRET.fullmatch(part)}
    return {form for part in parts for form in (part, repr(part)[1:-1], json.dumps(part)[1:-1])}


def found(secrets: Iterable[str], text: str) -> set[str]:
    """Those forms of the secrets that a text has."""
    return {form for secret in secrets for form in forms(secret) if form in text}


# What a server tells, by where one looks
PLACES = {
    "the journal": "journalctl --no-pager --all --output=verbose",
    "the containers": "docker ps --all --quiet | xargs docker inspect",
    "the images": "docker images --all --quiet | sort -u | xargs -I{} sh -c 'docker inspect {}; docker history --no-trunc {}'",
    "the processes": "ps -eww -o args",
    "the notes of earlier runs": "cat /opt/miniweb/settled/*.json",
    "what is known of the services": "cat /opt/miniweb/*/state.json /opt/miniweb/*/compose.yaml",
    "files that everybody reads": (
        "cd / && setpriv --reuid 65534 --regid 65534 --clear-groups find /etc /home /opt /tmp /var -xdev -type f -readable "
        "-newer /etc/hostname -exec cat {} + 2>/dev/null"
    ),
}


def told(host: Host, place: str) -> str:
    """What the server tells at a place."""
    done = host.run(PLACES[place])
    assert done.stdout_bytes, f"{place}: nothing was read: {done.stderr}"
    return done.stdout_bytes.decode(errors="replace")
