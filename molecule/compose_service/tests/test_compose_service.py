"""What compose_service promises, checked with a real Docker engine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from helpers.playbooks import Converge, folded
from helpers.server import default_of
from helpers.service import Service
from testinfra.host import Host

Interrupted = Callable[[dict[str, Any], Callable[[], bool]], None]
EXAMPLE = Service("example")
DIRECTORY = "/opt/miniweb/example"


def inside(host: Host, command: str) -> str:
    return host.check_output("docker exec %s sh -c %s", EXAMPLE.container(host), command)


def changed(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stdout
    return "changed=0" not in done.stdout


def test_it_runs_and_is_healthy(host: Host) -> None:
    assert EXAMPLE.becomes_healthy(host)
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


def test_an_interrupted_reload_is_done_by_the_next_run(host: Host, converge: Converge) -> None:
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


def test_a_failing_command_before_the_start_leaves_the_old_container_serving(host: Host, converge: Converge) -> None:
    variables = {"fixed": "third", "before_start": [["sh", "-c", "echo the migration failed; exit 3"]]}
    EXAMPLE.refuses(host, converge, variables, "exited with 3: the migration failed")


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
    assert EXAMPLE.becomes_healthy(host)


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


# This image has a shell but no Python, so the health check cannot pass.
OTHER_IMAGE = default_of("prometheus", "prometheus_image")
OTHER = {"image": OTHER_IMAGE, "check_command": []}
ENDS = "sh -c 'echo it cannot start; exit 7'"
SLEEPS = "sleep 3600"
FAILS = "raise SystemExit('not me')"
BACK = "The previous version is running again."


def serves(host: Host) -> bool:
    """Whether the first version answers, as it was deployed."""
    return inside(host, "cat /config/page; printenv FIXED") == "firstfirst"


@pytest.mark.parametrize(
    ("changed_by", "reason"),
    [
        ({"command": ENDS}, "it keeps exiting"),
        ({"command": ENDS, "volumes": []}, "it keeps exiting"),
        ({"healthcheck": FAILS, "start_period": "2s"}, "it is running but fails its health check"),
        # Without data the run waits for the verdict of the health check.
        ({"healthcheck": FAILS, "volumes": []}, "it is running but fails its health check"),
        ({**OTHER, "command": SLEEPS, "start_period": "2s"}, "it is running but fails its health check"),
        ({**OTHER, "command": "no-such-program"}, "no-such-program"),
        ({"content": "second", "secret": "another", "command": ENDS}, "it cannot start"),
    ],
    ids=str,
)
def test_a_failed_version_is_rolled_back(
    host: Host, converge: Converge, changed_by: dict[str, Any], reason: str
) -> None:
    done = converge({"fixed": "second", **changed_by})
    assert done.returncode != 0
    said = folded(done.stdout)
    assert 'The service "example" did not become healthy' in said
    assert reason in said
    assert BACK in said
    assert serves(host)
    assert EXAMPLE.becomes_healthy(host)
    assert inside(host, "cat /run/secrets/secret") == "a secret $ of the scenario"
    assert not host.file(f"{DIRECTORY}/previous.json").exists


def test_a_repeated_failure_is_reported_as_such_and_the_corrected_version_takes_over(
    host: Host, converge: Converge
) -> None:
    assert BACK in folded(converge({"command": ENDS}).stdout)
    assert "tries a configuration again that failed before" in folded(converge({"command": ENDS}).stderr)
    assert changed(converge({"fixed": "second"}))
    assert inside(host, "printenv FIXED") == "second"


def test_a_service_that_is_still_starting_is_left_running_and_the_next_run_waits_for_it(
    host: Host, converge: Converge
) -> None:
    slow = {"fixed": "slow", "healthcheck": "open('/tmp/ready')", "start_period": "90s"}
    said = folded(converge(slow).stdout)
    assert 'The service "example" is still starting after 15 s and was left running' in said
    assert inside(host, "printenv FIXED") == "slow"
    before = EXAMPLE.started(host)
    assert "is still starting" in folded(converge(slow).stdout)
    assert EXAMPLE.started(host) == before
    inside(host, "touch /tmp/ready")
    assert not changed(converge(slow))
    assert EXAMPLE.started(host) == before


def test_data_that_a_newer_image_has_opened_are_never_given_to_the_older_one_automatically(
    host: Host, converge: Converge
) -> None:
    opens = "sh -c 'date > /data/opened; echo it fails with the data; exit 7'"
    newer = {**OTHER, "user": "0:0", "command": opens}
    said = folded(converge(newer).stdout)
    assert "The previous version was not restored, because the new image has opened its data" in said
    assert "it fails with the data" in said
    wanted = host.check_output("docker image inspect --format '{{.Id}}' %s", OTHER_IMAGE)
    assert EXAMPLE.inspected(host)["Image"] == wanted
    # The next run of the same does not put it back either; one that asks for the older version does.
    assert BACK not in folded(converge(newer).stdout)
    assert EXAMPLE.inspected(host)["Image"] == wanted
    assert changed(converge({}))
    assert serves(host)


def test_an_interrupted_run_is_finished_by_the_next(host: Host, converge: Converge, interrupted: Interrupted) -> None:
    """The run is killed while the new version, which never becomes healthy, is starting."""
    bad = {"fixed": "bad", "content": "second", "healthcheck": FAILS, "start_period": "10s"}
    running = "docker ps --quiet --filter label=com.docker.compose.project=miniweb-example --filter health=starting"
    interrupted(bad, lambda: host.check_output(running) != "" and host.file(f"{DIRECTORY}/previous.json").exists)
    assert inside(host, "printenv FIXED") == "bad"
    # The same run again waits for the verdict and rolls back.
    assert BACK in folded(converge(bad).stdout)
    assert serves(host)


def test_a_first_deployment_that_fails_is_stopped_and_kept_to_look_at(host: Host, converge: Converge) -> None:
    assert changed(converge({"state": "absent"}))
    said = folded(converge({"command": ENDS}).stdout)
    assert "so it was stopped; its container, log and data are kept for inspection" in said
    assert EXAMPLE.inspected(host)["State"]["Status"] == "exited"
    assert "it cannot start" in host.check_output("docker logs %s", EXAMPLE.container(host))
    assert changed(converge({}))
    assert serves(host)


def test_a_port_in_use_is_reported_and_the_previous_version_serves_again(host: Host, converge: Converge) -> None:
    image = default_of("flask_app", "flask_app_base_image")
    host.check_output("docker run --detach --name taker --publish 8099:8000 %s sleep 600", image)
    try:
        said = folded(converge({"ports": ["8099:8000"]}).stdout)
        assert "8099" in said
        assert BACK in said
        assert serves(host)
    finally:
        host.check_output("docker rm --force taker")


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ("docker update --memory 100m --memory-swap 200m {}", "recreate: changed by hand: limits"),
        ("docker update --pids-limit 50 {}", "recreate: changed by hand: limits"),
        ("docker update --restart no {}", "recreate: changed by hand: restart policy"),
        ("docker network disconnect miniweb-example {}", "recreate: changed by hand: networks"),
        (
            "docker network disconnect miniweb-example {} && docker network connect miniweb-example {}",
            "recreate: changed by hand: networks",
        ),
        ("docker rename {} mine", "recreate: changed by hand: name"),
        (
            f'sed -i \'s/"read_only": true/"read_only": false/\' {DIRECTORY}/compose.yaml'
            f" && docker compose --file {DIRECTORY}/compose.yaml up --detach",
            "recreate: changed by hand: mounts",
        ),
        (
            f"cp -a {DIRECTORY} {DIRECTORY}.old && rm -r {DIRECTORY} && mv {DIRECTORY}.old {DIRECTORY}",
            "recreate: changed by hand: mounted files",
        ),
        (f"rm -r {DIRECTORY}", "recreate: changed by hand: mounted files"),
        ("docker pause {}", "resume"),
        ("docker stop {}", "start"),
        ("docker stop {} && docker network rm miniweb-example", "start"),
        ("docker rm --force {}", "create"),
        ("docker rm --force {} && docker network rm miniweb-example", "create"),
    ],
)
def test_what_somebody_else_changed_is_named_and_mended(
    host: Host, converge: Converge, by_hand: str, said: str
) -> None:
    def wanted() -> tuple[Any, ...]:
        found = EXAMPLE.inspected(host)
        networks = {
            name: sorted(set(one["Aliases"] or []) - {found["Id"][:12]})
            for name, one in found["NetworkSettings"]["Networks"].items()
        }
        kept = ("Memory", "PidsLimit", "RestartPolicy", "ReadonlyRootfs")
        return found["Name"], [found["HostConfig"][name] for name in kept], networks, found["State"]["Status"]

    before = wanted()
    host.check_output("sh -c %s", by_hand.replace("{}", EXAMPLE.container(host)))
    assert said in folded(converge({}).stdout)
    assert wanted() == before
    assert serves(host)
    assert not changed(converge({}))


def test_images_of_others_are_left_alone(host: Host, converge: Converge) -> None:
    """An untagged image, as an interrupted build of the user's own leaves behind."""
    other = host.check_output("docker commit %s", EXAMPLE.container(host))
    assert changed(converge({"fixed": "another"}))
    assert host.run("docker image inspect %s", other).rc == 0
    host.check_output("docker image rm %s", other)


def test_a_removed_service_leaves_its_data(host: Host, converge: Converge) -> None:
    assert changed(converge({"state": "absent"}))
    assert not EXAMPLE.container(host)
    assert not host.file(DIRECTORY).exists
    assert "miniweb-example_data" in host.check_output("docker volume ls --quiet")
    assert not changed(converge({"state": "absent"}))


def test_a_service_whose_data_are_gone_does_not_start_empty(host: Host, converge: Converge) -> None:
    """As with an engine's disk that is not mounted."""
    assert converge({}).returncode == 0
    host.check_output("docker rm --force %s", EXAMPLE.container(host))
    host.check_output("docker volume rm miniweb-example_data")
    sentence = "would start without its data, because the volume miniweb-example_data is gone"
    assert sentence in folded(converge({}).stdout)
    assert not EXAMPLE.container(host)
    assert changed(converge({"state": "absent"}))
