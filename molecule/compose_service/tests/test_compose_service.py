"""The engine's promises, asked of a real Docker engine."""

from __future__ import annotations

import subprocess

from asking import Converge, Service, folded
from testinfra.host import Host

EXAMPLE = Service("example")
DIRECTORY = "/opt/miniweb/example"


def inside(host: Host, command: str) -> str:
    return host.check_output("docker exec %s sh -c %s", EXAMPLE.container(host), command)


def changed(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stdout
    return "changed=0" not in done.stdout


def test_it_runs_and_is_healthy(host: Host) -> None:
    assert EXAMPLE.inspected(host)["State"]["Health"]["Status"] == "healthy"
    assert "miniweb-example" in host.check_output("docker compose ls --format json")


def test_values_are_literal(host: Host) -> None:
    assert inside(host, "printenv LITERAL") == "costs $5 or ${HOME}"


def test_every_service_is_hardened(host: Host) -> None:
    settings = EXAMPLE.inspected(host)["HostConfig"]
    assert settings["CapDrop"] == ["ALL"]
    assert settings["ReadonlyRootfs"]
    assert "no-new-privileges:true" in settings["SecurityOpt"]
    assert settings["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    assert settings["RestartPolicy"]["Name"] == "unless-stopped"


def test_a_secret_is_readable_by_its_program_and_visible_nowhere(host: Host) -> None:
    assert inside(host, "cat /run/secrets/secret") == "a secret $ of the scenario"
    assert host.check_output(f"stat -c '%a %u' {DIRECTORY}/secrets/secret") == "400 10001"
    assert host.check_output(f"stat -c '%a %u' {DIRECTORY}/secrets") == "700 0"
    seen = host.check_output("docker inspect %s", EXAMPLE.container(host))
    seen += host.check_output(f"cat {DIRECTORY}/compose.yaml {DIRECTORY}/state.json")
    assert "of the scenario" not in seen


def test_a_changed_file_is_reloaded_in_the_same_container(host: Host, converge: Converge) -> None:
    before = EXAMPLE.started(host)
    assert changed(converge({"content": "second"}))
    assert EXAMPLE.started(host) == before
    assert inside(host, "cat /tmp/reloaded") == "second"


def test_a_reload_that_was_interrupted_is_caught_up(host: Host, converge: Converge) -> None:
    assert converge({"content": "third"}).returncode == 0
    host.check_output(f'sed -i \'s/"reload": "[^"]*"/"reload": ""/\' {DIRECTORY}/state.json')
    inside(host, "rm /tmp/reloaded")
    assert changed(converge({"content": "third"}))
    assert inside(host, "cat /tmp/reloaded") == "third"
    assert not changed(converge({"content": "third"}))


def test_a_refused_file_is_restored(host: Host, converge: Converge) -> None:
    EXAMPLE.refuses(host, converge, {"content": "bad"}, "the page is bad. The files are as they were before.")
    assert inside(host, "cat /config/page") == "first"


def test_a_changed_definition_makes_a_new_container(host: Host, converge: Converge) -> None:
    before = EXAMPLE.started(host)
    inside(host, "echo kept > /tmp/x")
    assert changed(converge({"fixed": "second"}))
    assert EXAMPLE.started(host) != before
    assert inside(host, "printenv FIXED") == "second"


def test_a_changed_secret_makes_a_new_container_and_is_not_shown(host: Host, converge: Converge) -> None:
    before = EXAMPLE.started(host)
    done = converge({"secret": "something else entirely"}, "--diff", "-vvv")
    assert changed(done)
    assert "something else entirely" not in done.stdout.replace("EXTRA_VARS", "")
    assert EXAMPLE.started(host) != before
    assert inside(host, "cat /run/secrets/secret") == "something else entirely"


def test_a_failing_first_command_leaves_the_old_one_serving(host: Host, converge: Converge) -> None:
    variables = {"fixed": "third", "before_start": [["sh", "-c", "echo the migration failed; exit 3"]]}
    EXAMPLE.refuses(host, converge, variables, "ended with 3: the migration failed")


def test_check_mode_predicts_and_changes_nothing(host: Host, converge: Converge) -> None:
    before = EXAMPLE.started(host)
    done = converge({"content": "predicted", "fixed": "predicted"}, "--check", "--diff")
    assert changed(done)
    assert "+predicted" in done.stdout
    assert EXAMPLE.started(host) == before
    assert inside(host, "cat /config/page") == "first"


def test_a_stopped_container_is_started(host: Host, converge: Converge) -> None:
    host.check_output("docker stop %s", EXAMPLE.container(host))
    assert changed(converge({}))
    assert EXAMPLE.inspected(host)["State"]["Health"]["Status"] == "healthy"


def test_a_service_that_stays_unhealthy_fails_with_its_reason_and_its_log(converge: Converge) -> None:
    done = converge({"command": "sh -c 'echo it cannot start; exit 7'"})
    assert done.returncode != 0
    text = folded(done.stdout)
    assert 'The service "example" did not become healthy within 15 s' in text
    assert "it stopped and was restarted" in text
    assert "it cannot start" in text


def test_an_image_that_cannot_be_pulled_changes_nothing(host: Host, converge: Converge) -> None:
    before = EXAMPLE.started(host), host.check_output(f"cat {DIRECTORY}/compose.yaml")
    done = converge({"image": "registry:5000/none:1"})
    assert done.returncode != 0
    assert 'The image "registry:5000/none:1" of the service "example" cannot be pulled' in folded(done.stdout)
    assert (EXAMPLE.started(host), host.check_output(f"cat {DIRECTORY}/compose.yaml")) == before


def test_a_network_of_another_kind_is_refused(converge: Converge) -> None:
    done = converge({"network_internal": True, "fixed": "another"})
    assert done.returncode != 0
    assert 'The network "miniweb-example" exists with internal=false' in folded(done.stdout)


def test_a_removed_service_leaves_its_data(host: Host, converge: Converge) -> None:
    assert changed(converge({"state": "absent"}))
    assert not EXAMPLE.container(host)
    assert not host.file(DIRECTORY).exists
    assert "miniweb-example_data" in host.check_output("docker volume ls --quiet")
    assert not changed(converge({"state": "absent"}))
