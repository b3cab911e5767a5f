# Written by Ansible, role miniweb.stack.flask_app.
"""Wait for what the application depends on, then run commands, each given as a JSON list, until one fails."""

import json
import runpy
import subprocess
import sys

runpy.run_path("/etc/gunicorn/wait_for.py", run_name="__main__")
for argument in sys.argv[1:]:
    command = [str(word) for word in json.loads(argument)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except OSError as error:
        sys.exit(f"`{' '.join(command)}` cannot be run: {error.strerror}")
    output = done.stdout.decode(errors="replace")
    print(output, end="", flush=True)
    if done.returncode:
        last = (output.strip().splitlines() or ["it printed nothing"])[-1]
        sys.exit(f"`{' '.join(command)}` exited with {done.returncode}: {last}")
