"""The user's commands: up, status, down."""

from __future__ import annotations

import shutil
import time
import urllib.request
from ssl import CERT_NONE, create_default_context

from sandbox import engine, images, playbook
from sandbox.engine import docker, exists, remove_container
from sandbox.paths import HOST_VARS, KEY, ROOT, SECRETS, STATE
from sandbox.server import NAME, address, ensure_key, server_options, wait_for_ssh
from sandbox.shell import Failure, say


def up(source: str) -> None:
    """Start the sandbox server, deploy to it, and print where everything is."""
    begin = time.monotonic()
    engine.ensure()
    if exists("container", NAME) and not (KEY.exists() and str(KEY.with_suffix(".pub")) in mounted()):
        raise Failure(
            f"The container {NAME} was made by another copy of this project, and only that one has its keys: "
            f"`make down` there, or remove it with all its data by `docker rm -f -v {NAME} && docker volume rm {NAME}`."
        )
    ensure_key()
    images.ensure(source)
    images.ensure_server(source)
    at = address()
    start(at)
    if not playbook.succeeds("-i", "inventory/sandbox.yml", "site.yml"):
        raise Failure("site.yml failed, see above. The server is kept: fix the cause and run `make up` again.")
    summary(at, seconds=time.monotonic() - begin)


def mounted() -> list[str]:
    """The files and directories of this machine that the server has, among them the key that opens it."""
    return docker("inspect", "--format", "{{range .Mounts}}{{println .Source}}{{end}}", NAME).splitlines()


def start(at: str) -> None:
    """Start the server if it is not running."""
    wanted = docker("image", "inspect", "--format", "{{.Id}}", images.BARE)
    if not exists("container", NAME):
        say(f"Starting the server at {at}…")
        docker("run", "--detach", *server_options(NAME, at), images.BARE)
    elif docker("inspect", "--format", "{{.Image}}", NAME) == wanted:
        docker("start", NAME)
    else:
        raise Failure(f"The container {NAME} was made from an older server image: `make down` first, then `make up`.")
    wait_for_ssh(at)


def summary(at: str, seconds: float) -> None:
    """Print where everything is, and what to do next."""
    variables = images.host_vars()
    absent = images.left_out_of(variables)
    say("")
    say(f"Up after {seconds:.0f} s. The certificate is self-signed, so browsers warn once.")
    say(f"  Application   https://{at}/            user admin, password in app_admin_password below")
    say(f"  Prometheus    https://{at}:9090/       administrators' addresses only")
    say(f"  Alertmanager  https://{at}:9093/       administrators' addresses only")
    say(f"  Overview      https://{at}:9090/consoles/overview.html")
    if "grafana" not in absent:
        say(f"  Grafana       https://{at}:3000/       user admin, password in grafana_admin_password below")
    say(f"  SSH           ssh -i .sandbox/ssh_key -p 2222 admin@{at}")
    say(f"  Passwords     {SECRETS.relative_to(ROOT)}/   one file each, readable only by you")
    if variables:
        say(
            "  Images        built from Debian packages: the official ones cannot be pulled here, or were not requested"
        )
    if absent:
        say(f"  Left out      {', '.join(absent)}: not packaged by Debian. With a reachable registry it is included.")
    say("  Next          make status, make test, make down")


def status() -> None:
    """Show what is running."""
    if not engine.answers():
        raise Failure("No Docker engine answers, so nothing of the sandbox runs: `make up` starts everything.")
    if not exists("container", NAME) or docker("inspect", "--format", "{{.State.Running}}", NAME) != "true":
        raise Failure("The sandbox server does not run: `make up` starts it.")
    at = address()
    say(
        f"Server {NAME} at {at} has been running since {docker('inspect', '--format', '{{.State.StartedAt}}', NAME)[:19]} UTC"
    )
    say(docker("exec", NAME, "docker", "ps", "--format", "table {{.Names}}\t{{.Status}}\t{{.Image}}"))
    context = create_default_context()
    context.check_hostname, context.verify_mode = False, CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    for path in ("/", "/readyz"):
        try:
            with opener.open(f"https://{at}{path}", timeout=10) as answer:
                say(f"https://{at}{path} answers {answer.status}")
        except OSError as error:
            say(f"https://{at}{path} does not answer: {error}")


def down() -> None:
    """Remove everything that `up` and `prepare` created, except the image cache."""
    if STATE.exists():
        # The containers and images of a stopped engine would be back when it starts again.
        engine.ensure()
    if engine.answers():
        say("Removing servers, registry and images…")
        for name in docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"network={engine.NETWORK}").split():
            remove_container(name)
        images.remove()
    engine.stop()
    for path in (STATE, SECRETS, HOST_VARS.parent):
        if path.exists():
            shutil.rmtree(path)
    if SECRETS.parent.is_dir() and not any(SECRETS.parent.iterdir()):
        SECRETS.parent.rmdir()
    say("Removed: server, registry, images, keys and passwords of the sandbox.")
    say("Kept: Docker itself, .venv, and the image cache outside the project (`make clean-cache`).")
