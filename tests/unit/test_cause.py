"""cause: which line of a program's output says what is wrong."""

from __future__ import annotations

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import cause

TRACEBACK = """\
[2026-11-26 10:00:00 +0000] [7] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/venv/lib/python3.13/site-packages/gunicorn/arbiter.py", line 609, in spawn_worker
    worker.init_process()
  File "/app/wsgi.py", line 1, in <module>
    import nosuch
ModuleNotFoundError: No module named 'nosuch'
[2026-11-26 10:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)
[2026-11-26 10:00:00 +0000] [1] [ERROR] Reason: Worker failed to boot.
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it printed nothing"),
        ("\n  \n", "it printed nothing"),
        ("just one line.\n", "just one line"),
        ("first\nlast\n\n", "last"),
        (
            '2026/11/26 10:00:00 [emerg] 1#1: unknown directive "x" in /etc/nginx/conf.d/default.conf:3\n'
            'nginx: [emerg] unknown directive "x" in /etc/nginx/conf.d/default.conf:3\n'
            "nginx: configuration file /etc/nginx/nginx.conf test failed\n",
            '2026/11/26 10:00:00 [emerg] 1#1: unknown directive "x" in /etc/nginx/conf.d/default.conf:3',
        ),
        (
            "0 [Warning] [MY-010068] [Server] CA certificate ca.pem is self signed.\n"
            "0 [ERROR] [MY-000067] [Server] unknown variable 'no_such_setting=1'.\n"
            "0 [ERROR] [MY-010119] [Server] Aborting\n0 [System] [Server] /usr/sbin/mysqld: Shutdown complete.\n",
            "0 [ERROR] [MY-000067] [Server] unknown variable 'no_such_setting=1'",
        ),
        (TRACEBACK, "ModuleNotFoundError: No module named 'nosuch'"),
        (f"{TRACEBACK}{TRACEBACK.replace('nosuch', 'other')}", "ModuleNotFoundError: No module named 'other'"),
        (
            "Checking '/etc/alertmanager/alertmanager.yml'  FAILED: undefined receiver \"x\" used in route\n\n"
            "amtool: error: failed to validate 1 file(s)\n",
            "Checking '/etc/alertmanager/alertmanager.yml'  FAILED: undefined receiver \"x\" used in route",
        ),
        (
            'ts=1 level=info msg="Starting"\nts=2 level=error err="yaml: line 3: did not find"\nts=3 level=info msg="bye"\n',
            'ts=2 level=error err="yaml: line 3: did not find"',
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement nosuch (from versions: none)\n"
            "ERROR: No matching distribution found for nosuch\n"
            "The command '/bin/sh -c pip install nosuch' returned a non-zero code: 1\n",
            "ERROR: Could not find a version that satisfies the requirement nosuch (from versions: none)",
        ),
        (
            "\n*** FATAL CONFIG FILE ERROR (Redis 8.0.2) ***\nReading the configuration file, at line 5\n"
            ">>> 'no-such yes'\nBad directive or wrong number of arguments\n",
            "Bad directive or wrong number of arguments",
        ),
        ("Error response from daemon: No such image: x:1\n", "Error response from daemon: No such image: x:1"),
        # A word that only contains one of the marks is none.
        ("NO_ERRORS here\nlast", "last"),
    ],
)
def test_the_cause_is_named(text: str, said: str) -> None:
    assert cause(text) == said
