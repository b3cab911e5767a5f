"""The application as its users see it: requests, rows, settings, sources, secrets, bad input."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.docker_ignore import RULES, TREE
from helpers.playbooks import Converge, run_playbook
from helpers.server import SERVER, default_of
from helpers.service import Service
from helpers.waiting import eventually
from sandbox import registry
from sandbox.engine import docker, remove_container
from testinfra.host import Host

APP = Service("app")
PASSWORD = 'a password of the "scenario"'
HASHED = "$2b$05$1qqkiXzAI9zfaqoaJKR6j.n3rxpTTKROY1SEff9OuGd/qs57EJQXO"
APPS = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "tests" / "apps"
# The dashboard that all applications share
SHARED = Service("flask_app")
REQUEST = """
import sys, urllib.request, urllib.error
request = urllib.request.Request("http://127.0.0.1:8000" + sys.argv[1], data=sys.argv[2].encode() or None)
request.add_header("Content-Type", "application/json")
try:
    print(urllib.request.urlopen(request, timeout=10).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
FIGURES = "/run/figures"
SLOW = "echo begin >> uploads/slow.log; sleep 3; echo end >> uploads/slow.log"
PUT = """
import sys, urllib.request
path, text = sys.argv[1:]
urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8000/" + path, text.encode(), method="PUT"), timeout=10)
"""
# As the proxy asks for the site that an application serves over HTTPS alone.
VISIT = """
import sys, urllib.request
headers = {"Host": "www.example.com", "X-Forwarded-Proto": "https"}
request = urllib.request.Request("http://127.0.0.1:8000/", sys.argv[1].encode() or None, headers)
print(urllib.request.urlopen(request, timeout=10).read().decode())
"""
# An older version, which nobody gets without a lock file
WEBSOCKETS = "15.0.1"
LISTEN = """
import urllib.request
from websockets.sync.client import connect
with connect("ws://127.0.0.1:8000/echo") as socket:
    socket.send("hello")
    print(socket.recv(timeout=10))
with urllib.request.urlopen("http://127.0.0.1:8000/events", timeout=10) as stream:
    print([stream.readline() for line in range(3)])
"""
HELLO = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello from VERSION"]
"""


# Serves its own site over HTTPS only, and its measurements likewise.
STRICT = """
def app(environ, start_response):
    if environ["HTTP_HOST"] != "www.example.com":
        start_response("400 Bad Request", [])
        return [b"this host is not served"]
    if environ["wsgi.url_scheme"] != "https":
        start_response("301 Moved Permanently", [("Location", "https://www.example.com" + environ["PATH_INFO"])])
        return []
    start_response("200 OK", [("Content-Type", "text/plain; version=0.0.4")])
    return [b"asked_under{path=\\"%s\\"} 1\\n" % environ["PATH_INFO"].encode()]
"""
# Prints what Prometheus has of the job once it has asked: its `up`, and what the application said.
SCRAPED = """
docker rm --force scraper; docker run --detach --name scraper --network miniweb-edge --user 0 --entrypoint sh \
    --volume /opt/miniweb/contributions/prometheus:/jobs:ro {image} -c "
    (echo 'global: {{scrape_interval: 200ms}}'; cat /jobs/app.jobs.yml) > /tmp/prometheus.yml
    exec prometheus --config.file=/tmp/prometheus.yml" > /dev/null || exit 1
query() {{ docker exec scraper wget -q -O - "http://127.0.0.1:9090/api/v1/query?query=$1" | grep '"job":"app"'; }}
for i in $(seq 60); do query 'up%3D%3D1' > /dev/null && break; sleep 1; done
query up; query asked_under
docker rm --force scraper > /dev/null
"""


def ask(host: Host, path: str, body: str = "") -> str:
    return host.check_output("docker exec %s python -c %s %s %s", APP.container(host), REQUEST, path, body)


def project(directory: Path, version: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "wsgi.py").write_text(HELLO.replace("VERSION", version))
    (directory / "requirements.txt").write_text("gunicorn==23.0.0\n")
    return directory


def lock(source: Path, pinned: str) -> None:
    """Make a project's uv.lock. It would name the package index, so it is not kept with the source."""
    certificates = os.environ.get("PIP_CERT")
    subprocess.run(
        [sys.executable, "-m", "uv", "lock", "--upgrade-package", pinned],
        cwd=source,
        env={**os.environ, **({"SSL_CERT_FILE": certificates} if certificates else {})},
        check=True,
    )


def needs_another(source: Path, package: str) -> None:
    """Let a project need a package that its lock file does not have."""
    path = source / "pyproject.toml"
    path.write_text(path.read_text().replace(f'["{package}', f'["flask", "{package}'))


def plain(**variables: Any) -> dict[str, Any]:
    """Variables of an application without dependencies."""
    return {
        "flask_app_source_dir": "",
        "flask_app_declaration": {"database": False, "secrets": {}},
        "flask_app_environment": {},
        "flask_app_secrets": [],
        **variables,
    }


def test_rows_come_from_the_migrated_database(host: Host) -> None:
    assert [user["username"] for user in json.loads(ask(host, "/api/users"))] == ["admin", "ada", "grace"]


def test_a_row_is_written(host: Host) -> None:
    user = {"name": "Test", "email": "test@example.com", "username": "test", "password": "a long password"}
    assert json.loads(ask(host, "/api/users", json.dumps(user))) == {"message": "User created successfully"}
    assert "409" in ask(host, "/api/users", json.dumps(user))


def test_gunicorn_runs_as_it_was_told(host: Host, converge: Converge) -> None:
    variables = {"flask_app_workers": 3, "flask_app_worker_class": "sync", "flask_app_environment": {}}
    assert converge(variables).returncode == 0
    logs = host.check_output("docker logs %s 2>&1", APP.container(host))
    assert "Using worker: sync" in logs
    assert logs.count("Booting worker with pid") == 3


def test_secrets_are_files_of_the_application_alone(host: Host) -> None:
    found = APP.inspected(host)
    assert "of the scenario" not in json.dumps(found)
    assert (
        host.check_output("docker exec %s stat -c '%%a %%u' /run/secrets/database_password", APP.container(host))
        == "400 10001"
    )


def test_the_container_has_no_more_rights_than_it_needs(host: Host) -> None:
    APP.confined(host, "10001:10001")


def test_it_waits_for_its_database_and_says_so(host: Host, converge: Converge) -> None:
    variables = {"flask_app_wait_for": ["nowhere:3306"], "flask_app_wait_timeout_seconds": 2}
    APP.refuses(host, converge, variables, "nowhere:3306 does not answer within 2 s")


# Prints, for each .dockerignore, what Docker itself copies of a tree into an image, one file per line.
DOCKER_PACKS = """
cd $(mktemp -d)
for name in {names}; do mkdir -p "$(dirname "$name")"; : > "$name"; done
printf 'FROM scratch\\nCOPY . /packed/\\nCMD [""]\\n' > Dockerfile
for rules in {rules}; do
    printf "$rules" > .dockerignore
    image=$(docker build --quiet .) && container=$(docker create "$image") || exit 1
    echo :
    docker cp "$container:/packed/." - | tar --list --quoting-style=literal
    docker rm "$container" > /dev/null; docker rmi "$image" > /dev/null
done
"""


def test_dockerignore_means_what_it_means_to_docker(host: Host) -> None:
    """The unit tests ask the module the same."""
    escaped = [r"\n".join(line.replace("\\", r"\\") for line in lines) + r"\n" for lines, dummy in RULES]
    script = DOCKER_PACKS.format(names=shlex.join(TREE.split()), rules=shlex.join(escaped))
    found = host.check_output("sh -c %s", script).split(":\n")[1:]
    packed = [{name.removeprefix("./") for name in one.split() if not name.endswith("/")} for one in found]
    own = {"Dockerfile", ".dockerignore"}
    assert [one - own for one in packed] == [set(kept.split()) for dummy, kept in RULES]


def test_a_source_with_secrets_is_refused_unless_told(host: Host, converge: Converge, tmp_path: Path) -> None:
    source = project(tmp_path / "source", "a source with secrets")
    (source / ".env").write_text("PASSWORD=of the scenario")
    (source / "lost").symlink_to("nowhere")
    (source / ".dockerignore").write_text("*.txt\n!requirements.txt\n")
    given = plain(flask_app_source_dir=str(source))
    said = f'flask_app_source_dir: the directory "{source}" has'
    APP.refuses(host, converge, given, f'{said} the link "lost" to "nowhere", which leads nowhere: remove them')
    (source / "lost").unlink()
    secrets = f'{said} what looks like private keys or files with secrets, ".env": list them in its .dockerignore'
    APP.refuses(host, converge, given, secrets)
    assert converge({**given, "flask_app_allowed_secrets": [".env"]}).returncode == 0
    assert ask(host, "/") == "hello from a source with secrets"
    assert host.check_output("docker exec %s cat .env", APP.container(host)) == "PASSWORD=of the scenario"


@pytest.mark.parametrize("worker", ["gthread", pytest.param("sync", marks=pytest.mark.soak)])
def test_an_application_that_checks_host_and_forces_https_is_healthy_and_measured(
    host: Host, converge: Converge, tmp_path: Path, worker: str
) -> None:
    source = project(tmp_path / "strict", "")
    (source / "wsgi.py").write_text(STRICT)
    given = plain(
        flask_app_source_dir=str(source),
        flask_app_health_path="/health",
        flask_app_metrics_path="/metrics",
        flask_app_external_url="https://www.example.com",
        flask_app_worker_class=worker,
    )
    assert converge(given).returncode == 0
    assert APP.becomes_healthy(host)
    assert "this host is not served" in ask(host, "/health")
    image = default_of("prometheus", "prometheus_image")
    found = host.check_output("sh -c %s", SCRAPED.format(image=image))
    (series,) = [json.loads(line)["data"]["result"][0] for line in found.splitlines() if "asked_under" in line]
    assert (series["metric"]["path"], series["value"][1]) == ("/metrics", "1")
    (up,) = [json.loads(line)["data"]["result"][0] for line in found.splitlines() if '"__name__":"up"' in line]
    assert up["value"][1] == "1"
    # Asked as another site, it is not healthy, and gives way.
    other = {**given, "flask_app_external_url": "https://other.example.com", "flask_app_start_timeout_seconds": 5}
    if worker == "gthread":
        APP.gives_way(host, converge, other, "https://other.example.com/health gives 400 Bad Request")


def test_a_git_repository_is_a_source(host: Host, converge: Converge, tmp_path: Path) -> None:
    repository = project(tmp_path / "repository", "git")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "first"], ["tag", "v1"]):
        subprocess.run(["git", *identity, *words], cwd=repository, check=True)
    project(repository, "a later commit")
    subprocess.run(["git", *identity, "commit", "--quiet", "--all", "--message", "later"], cwd=repository, check=True)
    given = plain(flask_app_git_url=f"file://{repository}", flask_app_git_version="v1")
    APP.refuses(host, converge, {**given, "flask_app_git_version": "v2"}, 'it has no branch, tag or commit "v2"')
    assert converge(given).returncode == 0
    assert ask(host, "/") == "hello from git"
    missing = converge({**given, "flask_app_requirements_file": "requirements-none.txt"})
    assert missing.returncode != 0
    assert "requirements-none.txt" in missing.stdout
    assert ask(host, "/") == "hello from git"


def test_a_build_has_the_arguments_that_it_is_given(host: Host, converge: Converge, tmp_path: Path) -> None:
    source = project(tmp_path / "source", "a build with arguments")
    (source / "requirements.txt").write_text("gunicorn==${GUNICORN}\n")
    arguments = {"GUNICORN": "22.0.0", "OTHER": 'a "b" $c \\d'}
    given = plain(flask_app_source_dir=str(source), flask_app_build_arguments=arguments)
    assert converge(given).returncode == 0
    assert "22.0.0" in host.check_output("docker exec %s gunicorn --version", APP.container(host))
    assert host.run("docker exec %s printenv GUNICORN", APP.container(host)).stdout == ""


def test_an_application_that_knows_nothing_of_this_collection_needs_only_its_source(
    host: Host, converge: Converge
) -> None:
    """It finds the database by DATABASE_URL, with MySQL's hardest kind of password, and signs with SECRET_KEY."""
    given = {"flask_app_source_dir": str(APPS / "notes"), "flask_app_environment": {}, "flask_app_secrets": []}
    assert converge(given).returncode == 0
    assert ask(host, "/", "a note") == ""
    assert json.loads(ask(host, "/")) == {"notes": ["a note"], "visits": 1}
    assert "of the scenario" not in json.dumps(APP.inspected(host))
    assert "changed=0 " in converge(given).stdout


def test_a_django_project_needs_only_its_source(host: Host, converge: Converge, tmp_path: Path) -> None:
    """It serves its own host over HTTPS alone, and has what poetry.lock says; its table is made before it starts."""
    source = tmp_path / "django"
    shutil.copytree(APPS / "django", source)
    given = {
        "flask_app_source_dir": str(source),
        "flask_app_external_url": "https://www.example.com",
        "flask_app_environment": {},
        "flask_app_secrets": [],
    }
    assert converge(given).returncode == 0
    assert APP.becomes_healthy(host)
    assert "400" in ask(host, "/")

    def visit(text: str) -> dict[str, list[str]]:
        return json.loads(host.check_output("docker exec %s python -c %s %s", APP.container(host), VISIT, text))

    found = visit("an entry")
    assert found["entries"][-1] == "an entry"
    assert visit("") == found
    (locked,) = re.findall(r'name = "django"\nversion = "(.+)"', (source / "poetry.lock").read_text())
    assert host.check_output("docker exec %s python -m django --version", APP.container(host)) == locked
    assert "changed=0 " in converge(given).stdout
    needs_another(source, "Django")
    APP.refuses(host, converge, given, "cannot be built", "changed significantly since poetry.lock was last generated")


def test_an_asgi_application_has_websockets_and_streams(host: Host, converge: Converge, tmp_path: Path) -> None:
    """It is recognised without a word, and has what uv.lock says: not the newest version."""
    source = tmp_path / "fastapi"
    shutil.copytree(APPS / "fastapi", source)
    lock(source, f"websockets=={WEBSOCKETS}")
    given = {"flask_app_source_dir": str(source), "flask_app_environment": {}, "flask_app_secrets": []}
    wrong = {"flask_app_worker_class": "gthread"}
    APP.refuses(
        host, converge, {**given, **wrong}, "gthread, which cannot run the ASGI application main:app; set it to"
    )
    both = {"flask_app_wsgi": "main:app"}
    APP.refuses(
        host, converge, {**given, **both}, 'flask_app_wsgi is "main:app" and flask_app_asgi is "main:app"; set one'
    )
    assert converge(given).returncode == 0
    assert json.loads(ask(host, "/")) == {"hello": "from FastAPI"}
    heard = host.check_output("docker exec %s python -c %s", APP.container(host), LISTEN)
    assert heard.splitlines() == ["hello", r"[b'data: 0\n', b'\n', b'data: 1\n']"]
    version = "docker exec %s python -c 'import websockets; print(websockets.__version__)'"
    assert host.check_output(version, APP.container(host)) == WEBSOCKETS
    assert host.run("docker exec %s sh -c 'ls /tools; command -v uv'", APP.container(host)).stdout == ""
    needs_another(source, "fastapi")
    APP.refuses(host, converge, given, "cannot be built", "The lockfile at `uv.lock` needs to be updated")


def test_what_the_source_says_of_itself_is_looked_at_before_anything_changes(
    host: Host, converge: Converge, tmp_path: Path
) -> None:
    source = project(tmp_path / "declared", "a declared application")
    (source / "other.py").write_text((source / "wsgi.py").read_text())
    (source / "miniweb.yml").write_text("wsgi: other\nhealth_path: /\n")
    given = plain(flask_app_source_dir=str(source))
    APP.refuses(host, converge, given, 'miniweb.yml: wsgi is "other"; give module:callable, such as wsgi:app.')
    (source / "miniweb.yml").write_text("wsgi: other:app\nenvironment: {LANGUAGE: en, COLOUR: red}\nmemory_mb: 200\n")
    assert converge({**given, "flask_app_environment": {"COLOUR": "blue"}}).returncode == 0
    assert ask(host, "/") == "hello from a declared application"
    found = APP.inspected(host)
    assert {"LANGUAGE=en", "COLOUR=blue", "FLASK_APP=other:app"} <= set(found["Config"]["Env"])
    assert found["HostConfig"]["Memory"] == 200 * 1024 * 1024


def test_a_ready_image_is_a_source(host: Host, converge: Converge, tmp_path: Path) -> None:
    assert converge(plain(flask_app_source_dir=str(project(tmp_path / "first", "an image")))).returncode == 0
    image = host.check_output("docker inspect --format '{{.Config.Image}}' %s", APP.container(host))
    host.check_output("docker tag %s ready:1", image)
    assert converge(plain(flask_app_image="ready:1")).returncode == 0
    assert ask(host, "/") == "hello from an image"


@pytest.fixture
def private_registry(host: Host, tmp_path: Path) -> Iterator[str]:
    """A registry with a login, at an address of the server itself, so that its engine wants no TLS."""
    name = f"{SERVER}-registry"
    (tmp_path / "htpasswd").write_text(f"shop:{HASHED}\n")
    settings = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "x",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/htpasswd",
    }
    options = [word for variable in settings.items() for word in ("--env", "=".join(variable))]
    options += ["--volume", f"{tmp_path}/htpasswd:/htpasswd:ro", "--tmpfs", "/var/lib/docker-registry", "--user", "0"]
    image = docker("inspect", "--format", "{{.Config.Image}}", registry.CONTAINER)
    remove_container(name)
    docker("run", "--detach", "--name", name, "--network", f"container:{SERVER}", *options, image)
    try:
        assert eventually(lambda: host.socket("tcp://127.0.0.1:5000").is_listening)
        yield "127.0.0.1:5000/team/shop"
    finally:
        remove_container(name)


# Pushes an image and removes its name; prints its name with the digest.
PUSH = """
export DOCKER_CONFIG=$(mktemp -d)
printf %s "$1" | docker login --username shop --password-stdin 127.0.0.1:5000 > /dev/null 2>&1 || exit 1
docker tag "$2" "$3" && docker push --quiet "$3" > /dev/null || exit 1
name=$(docker inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$3" | grep "^${3%:*}@")
docker rmi "$3" "$name" > /dev/null 2>&1
rm -r "$DOCKER_CONFIG"
echo "$name"
"""
BREAK = """printf 'FROM %s\\nUSER 0\\nRUN sed -i "s/200 OK/500 It fails/" wsgi.py\\nUSER 10001:10001\\n' | docker build --quiet -"""


def test_an_image_is_taken_by_its_digest_from_a_registry_with_a_login(
    host: Host, converge: Converge, tmp_path: Path, private_registry: str
) -> None:
    def push(image: str, tag: str) -> str:
        return host.check_output("sh -c %s - %s %s %s", PUSH, PASSWORD, image, f"{private_registry}:{tag}")

    login = {"flask_app_registry_login": {"user": "shop", "password": PASSWORD}}
    # The engine keeps what it has once pulled by its digest, and would not ask the registry again.
    version = secrets.token_hex(8)
    source = str(project(tmp_path / "first", version))
    assert converge(plain(flask_app_source_dir=source)).returncode == 0
    built = host.check_output("docker inspect --format '{{.Config.Image}}' %s", APP.container(host))
    bad = push(host.check_output(BREAK, built), "2")
    base_image = default_of("flask_app", "flask_app_base_image")
    host.check_output("docker pull --quiet %s", base_image)
    good, base = push(built, "1"), push(base_image, "base")
    APP.refuses(
        host, converge, plain(flask_app_image=good), f'The image "{good}" of the service "app" cannot be pulled'
    )
    wrong = plain(flask_app_image=good, flask_app_registry_login={"user": "shop", "password": "not this one"})
    APP.refuses(
        host, converge, wrong, 'because its registry does not let "shop" log in', "correct the user or the password."
    )
    done = converge(plain(flask_app_image=good, **login), "-vvv", "--diff")
    assert done.returncode == 0
    assert PASSWORD not in done.stdout + done.stderr
    assert APP.inspected(host)["Config"]["Image"] == good
    assert ask(host, "/") == f"hello from {version}"
    assert "changed=0 " in converge(plain(flask_app_image=good, **login)).stdout
    quick = {"flask_app_start_timeout_seconds": 5}
    # A tag before the digest says nothing.
    APP.gives_way(
        host, converge, plain(flask_app_image=bad.replace("@", ":2@"), **login, **quick), "/ gives 500 It fails"
    )
    assert ask(host, "/") == f"hello from {version}"
    again = plain(flask_app_source_dir=source, flask_app_base_image=base, **login)
    assert converge(again).returncode == 0
    assert "changed=0 " in converge(again).stdout
    # Neither the login nor a trace of it is left.
    assert host.run("grep --recursive --files-with-matches auths /root /opt/miniweb").stdout == ""


def test_it_leaves_its_job_rules_and_dashboard(host: Host, converge: Converge) -> None:
    left = APP.contributions(host)
    assert set(left) == {"prometheus/app.jobs.yml", "prometheus/app.rules.yml"}
    (job,) = yaml.safe_load(left["prometheus/app.jobs.yml"])["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("app", "/metrics")
    assert 'job="app"' in left["prometheus/app.rules.yml"]
    assert set(SHARED.contributions(host)) == {"grafana/flask_app.json"}
    before = APP.started(host)
    assert converge({"flask_app_metrics_path": ""}).returncode == 0
    assert APP.contributions(host) == SHARED.contributions(host) == {}
    assert APP.started(host) == before


def test_absent_and_present_again(host: Host, converge: Converge, tmp_path: Path) -> None:
    source = str(project(tmp_path / "other", "another application"))
    other = plain(flask_app_name="other", flask_app_source_dir=source, flask_app_metrics_path="/metrics")
    assert converge(other).returncode == 0
    assert converge({"flask_app_state": "absent"}).returncode == 0
    assert APP.container(host) == ""
    assert APP.contributions(host) == {}
    assert not host.file("/opt/miniweb/app").exists
    # The other application still uses it.
    assert set(SHARED.contributions(host)) == {"grafana/flask_app.json"}
    assert converge({**other, "flask_app_state": "absent"}).returncode == 0
    assert Service("other").container(host) == ""
    assert SHARED.contributions(host) == {}
    again = converge({"flask_app_state": "absent", "flask_app_source_dir": ""})
    assert (again.returncode, "changed=0 " in again.stdout) == (0, True)
    assert converge({}).returncode == 0
    assert "ada" in ask(host, "/api/users")
    assert set(SHARED.contributions(host)) == {"grafana/flask_app.json"}


def test_a_version_that_gunicorn_cannot_start_never_takes_over(host: Host, converge: Converge, tmp_path: Path) -> None:
    unknown = {"flask_app_gunicorn_settings": {"backlog": "many"}}
    APP.refuses(host, converge, unknown, "before_start: a command failed", "`gunicorn --check-config")
    broken = project(tmp_path / "broken", "broken")
    (broken / "wsgi.py").write_text("import nosuch\n")
    APP.refuses(host, converge, plain(flask_app_source_dir=str(broken)), "No module named 'nosuch'")
    assert "ada" in ask(host, "/api/users")


def test_a_release_that_never_answers_is_rolled_back(host: Host, converge: Converge, tmp_path: Path) -> None:
    """The start timeout is short, so that the test is too."""
    good, bad = project(tmp_path / "good", "a good release"), project(tmp_path / "bad", "a bad release")
    (bad / "wsgi.py").write_text(HELLO.replace("200 OK", "500 Internal Server Error"))
    quick = {"flask_app_start_timeout_seconds": 5}
    assert converge(plain(flask_app_source_dir=str(good))).returncode == 0
    APP.gives_way(
        host,
        converge,
        plain(flask_app_source_dir=str(bad), **quick),
        "/ gives 500 Internal Server Error: hello from",
    )
    assert ask(host, "/") == "hello from a good release"
    project(bad, "a corrected release")
    assert converge(plain(flask_app_source_dir=str(bad), **quick)).returncode == 0
    assert ask(host, "/") == "hello from a corrected release"


def figure(host: Host, name: str, what: str) -> str:
    """What is left for node_exporter of a scheduled command; empty if it is not there."""
    file = host.run("cat %s/miniweb-app_%s.prom", FIGURES, name).stdout
    labels = f'application="app",name="{name}"'
    return file.partition(f"miniweb_scheduled_command_{what}{{{labels}}} ")[2].partition("\n")[0]


def test_uploads_and_workers_outlive_a_version_and_survive_a_broken_one(
    host: Host, converge: Converge, tmp_path: Path
) -> None:
    """As a user has it: a file is uploaded, a worker counts its words, new versions find both."""
    source, worker = tmp_path / "uploads", Service("app-worker")
    shutil.copytree(APPS / "uploads", source)
    given = {
        "flask_app_source_dir": str(source),
        "flask_app_environment": {},
        "flask_app_secrets": [],
        "flask_app_start_timeout_seconds": 5,
        "flask_app_metrics_directory": FIGURES,
        "flask_app_mail": {
            "server": "smtp.example.com",
            "sender": "Shop <a@example.com>",
            "user": "a",
            "password": 'p "$ñ',
        },
        "flask_app_schedule": {
            "often": {"command": ["flask", "leave", "0"], "at": "*:*:0/2"},
            "never": {"command": ["flask", "leave", "4"], "at": "2100-01-01"},
            "slow": {"command": ["sh", "-c", SLOW], "at": "*:*:0/1"},
        },
    }
    host.check_output("mkdir --parents %s", FIGURES)
    twice = {"flask_app_volumes": {"other": {"path": "/usr/share"}}, "flask_app_processes": {"beat": {}}}
    for sentence in (
        "flask_app_volumes.other.path is /usr/share, where the container has its system",
        "flask_app_processes.beat has no command; give a list of words, such as [rq, worker].",
    ):
        APP.refuses(host, converge, {**given, **twice}, sentence)
    daily = {"flask_app_schedule": {"daily": {"command": ["flask", "leave"], "at": "every day"}}}
    APP.refuses(
        host,
        converge,
        {**given, **daily},
        'schedule.daily.at: systemd does not understand "every day" (Failed to parse',
    )

    def put(name: str, text: str) -> None:
        host.check_output("docker exec %s python -c %s %s %s", APP.container(host), PUT, name, text)

    assert converge(given).returncode == 0
    names = ["MAIL_SERVER", "MAIL_PORT", "MAIL_USE_TLS", "MAIL_USERNAME", "MAIL_PASSWORD", "MAIL_DEFAULT_SENDER"]
    sent = host.check_output(
        f"docker exec %s python /etc/gunicorn/launch.py printenv {' '.join(names)}", APP.container(host)
    )
    assert sent.splitlines() == ["smtp.example.com", "587", "true", "a", 'p "$ñ', "Shop <a@example.com>"]
    put("first.txt", "one two three")
    assert eventually(lambda: ask(host, "/first.words") == "3 1 64")
    workers = "docker ps --quiet --filter label=com.docker.compose.project=miniweb-app-worker"
    before = host.check_output(workers).split()
    assert len(before) == 2
    assert "changed=0 " in converge(given).stdout
    # A version whose web process does not answer gives way, and its worker never starts.
    code = (source / "app.py").read_text()
    (source / "app.py").write_text(code.replace("    return VERSION", "    raise OSError").replace('"1"', '"2"'))
    put("second.txt", "written before")
    APP.gives_way(host, converge, given, "/ gives 500")
    assert host.check_output(workers).split() == before
    assert ask(host, "/second.txt") == "written before"
    (source / "app.py").write_text(code.replace('"1"', '"3"'))
    assert converge({**given, "flask_app_processes": {"worker": {"count": 1}}}).returncode == 0
    assert (ask(host, "/"), ask(host, "/first.txt")) == ("3", "one two three")
    assert len(host.check_output(workers).split()) == 1
    put("third.txt", "a b")
    assert eventually(lambda: ask(host, "/third.words") == "2 3 64")
    # The scheduled commands have the new version, too.
    assert eventually(lambda: "texts, version 3" in host.check_output("journalctl --unit miniweb-app_often --lines 5"))
    assert eventually(lambda: figure(host, "often", "failed") == "0")
    # One that takes longer than until the next time runs alone all the same.
    assert eventually(lambda: ask(host, "/slow.log").split().count("end") > 1)
    steps = ask(host, "/slow.log").split()
    assert set(steps[::2]) == {"begin"} and set(steps[1::2]) == {"end"}
    # A worker that never gets healthy gives way, too.
    sick = {"flask_app_processes": {"worker": {"count": 1, "health_command": ["false"]}}}
    worker.gives_way(host, converge, {**given, **sick}, "fails its health check")
    assert host.run("systemctl start miniweb-app_never").rc != 0
    assert (figure(host, "never", "failed"), figure(host, "never", "last_success_timestamp_seconds")) == ("1", "")
    assert "`flask leave 4` exited with 4." in host.check_output("journalctl --unit miniweb-app_never --lines 9")
    assert converge({**given, "flask_app_schedule": {"never": given["flask_app_schedule"]["never"]}}).returncode == 0
    units = "systemctl list-units --all --plain --no-legend 'miniweb-app_*' | cut --delimiter ' ' --fields 1"
    assert host.check_output(units).split() == ["miniweb-app_never.service", "miniweb-app_never.timer"]
    assert figure(host, "often", "failed") == ""
    run = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "playbooks" / "run.yml"
    done = run_playbook(run, {"command": "flask leave 0"})
    assert (done.returncode, "3 texts, version 3" in done.stdout) == (0, True)
    failed = run_playbook(run, {"command": "flask leave 4"})
    assert failed.returncode != 0
    assert "`flask leave 4` exited with 4: 3 texts, version 3" in failed.stdout
    assert "command is not set: give one" in run_playbook(run, {}).stdout
    assert converge({**given, "flask_app_state": "absent", "flask_app_remove_data": True}).returncode == 0
    assert (APP.container(host), worker.container(host)) == ("", "")
    assert "miniweb-app_uploads" not in host.check_output("docker volume ls --quiet")
    left = f"find /etc/systemd/system /var/lib/systemd/timers /opt/miniweb/schedule {FIGURES} -name 'miniweb-app_*'"
    assert host.check_output(left) == ""


def test_a_version_that_does_not_build_never_takes_over(host: Host, converge: Converge, tmp_path: Path) -> None:
    broken = project(tmp_path / "broken", "broken")
    (broken / "requirements.txt").write_text("gunicorn==0.0.0.1\n")
    APP.refuses(host, converge, plain(flask_app_source_dir=str(broken)), "cannot be built")
    shutil.rmtree(broken)


def test_bad_input_is_refused_in_one_sentence_each(host: Host, converge: Converge) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"flask_app_source_dir": "/nowhere"}, 'flask_app_source_dir: "/nowhere" must be a directory'),
        ({"flask_app_requirements_file": "../../up.txt"}, 'flask_app_requirements_file: "../../up.txt" cannot be used'),
        ({"flask_app_secrets": [{"name": "empty", "content": ""}]}, "flask_app_secrets: empty is empty"),
        ({"flask_app_wait_for": ["mysql"]}, "flask_app_wait_for: mysql; give each as host:port."),
        ({"flask_app_health_path": "health"}, 'flask_app_health_path: "health" does not begin with "/"'),
        ({"flask_app_metrics_path": "metrics"}, 'flask_app_metrics_path: "metrics" does not begin with "/"'),
        ({"flask_app_external_url": "www.example.com"}, 'flask_app_external_url: "www.example.com" cannot be used'),
        (
            {"flask_app_build_arguments": {"A B": 1, "C": "x\ny"}},
            "flask_app_build_arguments: A B, C cannot be used; give",
        ),
        ({"flask_app_registry_login": {"user": "x"}}, "flask_app_registry_login has no user or no password; give both"),
        ({"flask_app_database": {"host": "mysql"}}, "flask_app_database has no port, name, user, password: give all"),
        ({"flask_app_declaration": {"wsgi": "x"}}, 'flask_app_declaration: wsgi is "x"; give module:callable'),
        ({"flask_app_name": "An App"}, 'flask_app_name: "An App" cannot be used'),
    ]
    APP.refuses_each(host, converge, cases)
    # Ansible itself refuses what is not among the choices, and looks no further.
    choices = "value of flask_app_worker_class must be one of: sync, gthread, gevent, tornado, uvicorn_worker.UvicornWorker, got: eventual"
    APP.refuses(host, converge, {"flask_app_worker_class": "eventual"}, choices)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"flask_app_source_dir": ""}, "flask_app_source_dir, flask_app_git_url, flask_app_image: 0 of them are set"),
        ({"flask_app_image": "a:1"}, "flask_app_source_dir, flask_app_git_url, flask_app_image: 2 of them are set"),
        (
            {"flask_app_requirements_file": "requirements-none.txt"},
            'must be a directory on the controller with the flask_app_requirements_file "requirements-none.txt"',
        ),
        (
            plain(flask_app_image="registry:5000/none:1"),
            'The image "registry:5000/none:1" of the service "app" cannot be pulled',
        ),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_in_one_sentence(
    host: Host, converge: Converge, variables: dict[str, Any], sentence: str
) -> None:
    APP.refuses(host, converge, variables, sentence)
