"""The whole system, tested over HTTPS and from inside, as its users and attackers would use it."""

from __future__ import annotations

import json
import os
import re
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from helpers.prometheus import query
from helpers.server import ADDRESS, ROOT, SERVER
from helpers.shapes import PLACES, found, told
from helpers.waiting import eventually
from helpers.web import curl, json_from, status
from testinfra.host import Host

INVENTORY = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent
SECRETS = INVENTORY.parent / "secrets" / SERVER
URL = f"https://{ADDRESS}"


def secret(name: str) -> str:
    return (SECRETS / name).read_text().strip()


def logged_in(username: str, password: str) -> requests.Session:
    """A browser session in which this user has logged in."""
    browser = requests.Session()
    browser.verify = False
    # Otherwise a CA bundle named in the environment would be used.
    browser.trust_env = False
    browser.headers["Referer"] = f"{URL}/login"
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(f"{URL}/login").text)
    assert found
    given = {"username": username, "password": password, "csrf_token": found[1]}
    assert browser.post(f"{URL}/login", data=given).url == f"{URL}/"
    return browser


def api(path: str, method: str = "GET", body: dict[str, Any] | None = None) -> tuple[int, Any]:
    words = ["-X", method, "-H", "Content-Type: application/json", "-w", "\n%{http_code}", f"{URL}{path}"]
    words += ["-u", f"admin:{secret('app_admin_password')}"]
    if body is not None:
        words += ["--data", json.dumps(body)]
    text, dummy, code = curl(*words).rpartition("\n")
    return int(code), json.loads(text)


def containers(host: Host) -> list[str]:
    return host.check_output("docker ps --format '{{.Names}}'").split()


def test_http_is_redirected() -> None:
    answer = curl("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"http://{ADDRESS}/edit/1")
    assert answer == f"301 {URL}/edit/1"


def test_the_certificate_names_the_server() -> None:
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate((ADDRESS, 443)).encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "www.example.com" in names.get_values_for_type(x509.DNSName)
    assert ADDRESS in [str(address) for address in names.get_values_for_type(x509.IPAddress)]


def test_the_page_shows_rows_of_mysql(host: Host) -> None:
    page = logged_in("admin", secret("app_admin_password")).get(f"{URL}/").text
    rows = host.check_output(
        "docker exec miniweb-mysql-mysql-1 mysql --defaults-file=/run/secrets/root.cnf -BNe %s",
        "SELECT username FROM miniwebapp.users",
    ).split()
    assert {"ada", "grace"} <= set(rows)
    assert all(row in page for row in rows)


def test_nobody_reads_or_changes_users_without_a_login() -> None:
    assert curl("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"{URL}/") == f"302 {URL}/login?next=/"
    for method in ("GET", "POST"):
        assert status("-X", method, "-H", "Content-Type: application/json", "-d", "{}", f"{URL}/api/users") == "401"


def test_measurements_are_not_published() -> None:
    assert status(f"{URL}/metrics") == "404"


def test_a_request_is_found_in_the_logs_by_the_id_in_its_answer(host: Host) -> None:
    headers = curl("-o", "/dev/null", "-D", "-", f"{URL}/api/users/1")
    found = re.search(r"x-request-id: (\w{32})", headers)
    assert found

    def lines() -> list[dict[str, Any]]:
        output = host.check_output("docker logs miniweb-app-app-1")
        every = [json.loads(line) for line in output.splitlines() if line[0] == "{"]
        return [line for line in every if line.get("request_id") == found[1]]

    assert eventually(lambda: len(lines()) == 1)
    (line,) = lines()
    assert (line["path"], line["status"]) == ("/api/users/1", 401)


def test_static_files_may_be_cached() -> None:
    page = curl(f"{URL}/login")
    found = re.search(r'href="(/static/style.css\?v=\w+)"', page)
    assert found
    headers = curl("-o", "/dev/null", "-D", "-", "-H", "Accept-Encoding: gzip", f"{URL}{found[1]}")
    assert "immutable" in headers
    assert "content-encoding: gzip" in headers


def test_a_user_goes_through_nginx_into_mysql_and_survives_a_restart_of_everything(host: Host) -> None:
    user = {"name": "Test Person", "email": "test@example.com", "username": "tester"}
    created = api("/api/users", "POST", {**user, "password": "a long password"})
    assert created == (201, {"message": "User created successfully"})
    found = next(row for row in api("/api/users")[1] if row["username"] == "tester")
    assert found == {"id": found["id"], **user}

    for name in containers(host):
        host.check_output("docker restart --time 20 %s", name)
    assert eventually(lambda: status(f"{URL}/readyz") == "200")

    path = f"/api/users/{found['id']}"
    assert api(path) == (200, found)
    assert api(path, "PUT", {"name": "Changed"}) == (200, {"message": "User updated successfully"})
    assert api(path)[1]["name"] == "Changed"
    assert api("/api/users", "POST", {**user, "password": "a long password"})[0] == 409
    assert api(path, "DELETE") == (200, {"message": "User deleted successfully"})
    assert api(path)[0] == 404


def test_many_at_once_get_what_they_ask_for() -> None:
    """Under load; `make bench` measures how fast."""
    admin = logged_in("admin", secret("app_admin_password"))

    def work(client: int) -> list[int]:
        user = {"name": "Load", "username": f"load{client}", "email": f"load{client}@example.com"}
        with requests.Session() as own:
            own.verify, own.trust_env, own.cookies = False, False, admin.cookies
            codes = [own.post(f"{URL}/api/users", json={**user, "password": "a long password"}).status_code]
            for number in range(20):
                answer = own.get(f"{URL}/api/users?number={number}")
                found = [row for row in answer.json() if row["username"] == user["username"]]
                assert [{name: row[name] for name in user} for row in found] == [user]
                codes.append(answer.status_code)
            codes.append(own.delete(f"{URL}/api/users/{found[0]['id']}").status_code)
        return codes

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(32))) == [[201, *[200] * 21]] * 32
    assert not any(row["username"].startswith("load") for row in api("/api/users")[1])


@pytest.fixture
def forgotten(host: Host) -> Iterator[None]:
    """Forget failed logins afterwards, because those of an address count together."""
    yield
    forget_failures(host)


def forget_failures(host: Host) -> None:
    client = "docker exec miniweb-mysql-mysql-1 mysql --defaults-file=/run/secrets/root.cnf miniwebapp"
    host.check_output(f"{client} --execute 'DELETE FROM login_failures'")


def memory_percent(host: Host) -> float:
    """What the application's container uses of the memory that it may have."""
    used = host.check_output("docker stats --no-stream --format '{{.MemPerc}}' miniweb-app-app-1")
    return float(used.rstrip("%"))


def kills(host: Host) -> int:
    """How often the kernel has killed in the application's container."""
    files = "cat /sys/fs/cgroup/memory/memory.oom_control || cat /sys/fs/cgroup/memory.events"
    found = host.check_output("docker exec miniweb-app-app-1 sh -c %s", f"({files}) 2> /dev/null")
    return int(re.search(r"^oom_kill (\d+)$", found, re.MULTILINE)[1])  # type: ignore[index]


def test_guessing_passwords_neither_fills_the_memory_nor_gets_anything_killed(host: Host, forgotten: None) -> None:
    def guess(number: int) -> str:
        return status("-u", f"somebody{number}:a wrong password", f"{URL}/api/users")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(guess, range(120)))
    assert set(answers) == {"401", "429"}
    # It was 97 before one thread made all hashes.
    assert memory_percent(host) < 75
    assert kills(host) == 0


@pytest.mark.soak
def test_an_hour_of_logins_creations_and_lists_leaves_the_memory_as_it_was(host: Host, forgotten: None) -> None:
    admin, end = logged_in("admin", secret("app_admin_password")), time.monotonic() + 3600

    def use(client: int) -> Counter[str]:
        user = {"name": "Soak", "username": f"soak{client}", "email": f"soak{client}@example.com"}
        login = f"soak{client}:a long password"
        answers: Counter[str] = Counter()
        with requests.Session() as own:
            own.verify, own.trust_env, own.cookies = False, False, admin.cookies
            while time.monotonic() < end:
                created = own.post(f"{URL}/api/users", json={**user, "password": "a long password"})
                answers[f"created {created.status_code}"] += 1
                own_page = f"{URL}{created.headers['Location']}"
                for number in range(5):
                    answers[f"list {own.get(f'{URL}/api/users?number={number}').status_code}"] += 1
                answers[f"login {status('-u', login, own_page)}"] += 1
                guess = status("-u", f"nobody{client}:a wrong password", own_page)
                answers["wrong login " + ("refused" if guess in {"401", "429"} else guess)] += 1
                answers[f"deleted {own.delete(own_page).status_code}"] += 1
        return answers

    curve: list[float] = []
    with ThreadPoolExecutor(8) as pool:
        working = [pool.submit(use, client) for client in range(8)]
        while time.monotonic() < end:
            time.sleep(60)
            forget_failures(host)
            curve.append(memory_percent(host))
        answers = sum((one.result() for one in working), Counter())
    # `make soak` shows it at its end.
    (ROOT / ".sandbox" / "memory").write_text(
        f"Memory of the application, % of its limit, minute by minute: {curve}\n{dict(answers)}\n"
    )
    assert set(answers) == {"created 201", "list 200", "login 200", "wrong login refused", "deleted 200"}
    assert max(curve[-20:]) <= 1.05 * max(curve[:20]), curve
    assert max(curve) < 75, curve
    assert kills(host) == 0


def test_requests_are_counted_over_all_processes() -> None:
    def counted() -> float:
        found = query('sum(http_requests_total{route="/api/users",status="200"})')
        return float(found[0]["value"][1]) if found else 0

    before = counted()
    for number in range(20):
        assert api(f"/api/users?number={number}")[0] == 200
    assert eventually(lambda: counted() >= before + 20)


def test_the_servers_real_disk_is_measured(host: Host) -> None:
    def measured() -> list[float]:
        return [float(item["value"][1]) for item in query('node_filesystem_size_bytes{mountpoint="/"}')]

    size = int(host.check_output("df --block-size=1 --output=size / | tail -n 1"))
    assert eventually(lambda: measured() == [size]), measured()


def test_grafana_shows_the_servers_dashboard() -> None:
    password = secret("grafana_admin_password")
    assert status(f"{URL}:3000/api/org") == "401"
    found = json_from("-u", f"admin:{password}", f"{URL}:3000/api/search?type=dash-db")
    assert "miniweb-host" in {dashboard["uid"] for dashboard in found}


def test_administrators_sites_answer_to_administrators_only(host: Host) -> None:
    for port in (3000, 9090, 9093):
        assert status(f"{URL}:{port}/") in {"200", "302"}
        assert host.check_output(f"curl -sk -o /dev/null -w '%{{http_code}}' https://localhost:{port}/") == "403"


def test_node_exporter_does_not_answer_outside() -> None:
    assert status(f"{URL}:9100/metrics") == "000"


def test_nothing_listens_that_should_not(host: Host) -> None:
    lines = host.check_output("ss --listening --tcp --numeric --no-header").splitlines()
    bridge = host.check_output("ip -4 -oneline address show docker0 | awk '{split($4, found, \"/\"); print found[1]}'")
    ports: dict[str, set[int]] = {}
    for address, _, port in (line.split()[3].rpartition(":") for line in lines):
        where = "itself" if re.match(r"127\.|\[::1\]", address) else "containers" if address == bridge else "all"
        ports.setdefault(where, set()).add(int(port))
    assert ports["all"] == {22, 80, 443, 3000, 9090, 9093}
    assert ports["containers"] == {9095, 9100}


def test_nginx_cannot_reach_mysql(host: Host) -> None:
    done = host.run("docker exec miniweb-nginx-nginx-1 wget -q -T 3 -O /dev/null http://mysql:3306/")
    assert done.rc != 0
    assert "bad address" in done.stderr
    assert "miniweb-data" not in host.check_output("docker inspect miniweb-nginx-nginx-1")


def test_who_asks_from_outside_is_not_on_the_applications_networks(host: Host) -> None:
    ask = "docker exec miniweb-blackbox_exporter-blackbox_exporter-1 wget -q -T 3 -O /dev/null %s"
    assert host.run(ask, "http://app:8000/healthz").rc != 0
    host.check_output(ask, "http://blackbox_exporter:9115/-/healthy")


def test_the_databases_network_is_internal(host: Host) -> None:
    assert host.check_output("docker network inspect --format '{{.Internal}}' miniweb-data") == "true"


@pytest.mark.parametrize("place", PLACES)
def test_no_password_is_told_by_the_server(host: Host, place: str) -> None:
    passwords = [path.read_text().strip() for path in SECRETS.iterdir()]
    assert secret("mysql_password") in passwords
    text = told(host, place)
    assert [path.name for path in SECRETS.iterdir() if found([path.read_text().strip()], text)] == []


def test_no_private_key_is_told_by_the_server(host: Host) -> None:
    keys = host.check_output("find /opt/miniweb -name private_key.pem -exec cat {} +")
    assert keys.count("BEGIN") >= 2
    for place in PLACES:
        assert found([keys], told(host, place)) == set(), place


def test_no_password_is_in_the_applications_image(host: Host) -> None:
    image = host.check_output("docker inspect --format '{{.Image}}' miniweb-app-app-1")
    # By files, because sudo logs each command.
    command = "docker run --rm --network none --user 0 --volume %s:/patterns:ro --entrypoint sh %s -c %s"
    search = "for file in /patterns/*; do grep -rlF -f $file /app /venv /etc /root /home /tmp; done"
    host.check_output("mkdir -p /tmp/patterns && echo create_app > /tmp/patterns/one")
    assert "/app/wsgi.py" in host.run(command, "/tmp/patterns", image, search).stdout
    assert host.run(command, "/opt/miniweb/app/secrets", image, search).stdout == ""


@pytest.mark.parametrize("port", [9090, 9093])
def test_monitoring_answers_no_page_of_another_website(port: int) -> None:
    page = f"{URL}:{port}"
    path = {9090: "/api/v1/query?query=up", 9093: "/api/v2/status"}[port]
    headers = curl("-o", "/dev/null", "-D", "-", "-H", f"Origin: {page}", page + path).lower()
    assert headers.startswith("http/2 200")
    assert "access-control-" not in headers
    for origin in ("https://evil.example", "null", URL):
        assert status("-H", f"Origin: {origin}", page + path) == "403"
    silence = ["-X", "POST", "-H", "Content-Type: text/plain", "-H", "Origin: https://evil.example", "-d", "{}"]
    assert status(*silence, f"{page}/api/v2/silences") == "403"
    assert status(f"{page}/debug/pprof/") == "404"
