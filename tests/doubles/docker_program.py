"""A double of the `docker` program: it keeps one service's container in a file, and fails as its image is told to.

Its directory holds `engine.json` (its state) and `told` (one line for each call). `behaviour` says by image id how a
container behaves: healthy, restarts, unhealthy, starting, exits, plain (no health check), taken (no port for it);
an image in `opens_data` changes the data when its container is made, one in `opens_data_late` when it is stopped.
"""

import json
import os
import sys
import time
from pathlib import Path

LABEL = "miniweb.stack.configuration"
PROJECT_LABEL = "com.docker.compose.project"
HEALTHCHECK = {"StartPeriod": 0, "Interval": 0, "Timeout": 0, "Retries": 3}


def container(engine, document, name):
    service = document["services"][name]
    image = engine["images"].get(service["image"], service["image"])
    engine["count"] += 1
    behaviour = engine["behaviour"].get(image, "healthy")
    state, health, restarts = {
        "healthy": ("running", "healthy", 0),
        "restarts": ("restarting", "starting", 2),
        "unhealthy": ("running", "unhealthy", 0),
        "starting": ("running", "starting", 0),
        "exits": ("exited", "starting", 0),
        "plain": ("running", "", 0),
    }[behaviour]
    if image in engine["opens_data"]:
        (Path(engine["volume"]) / "opened").write_text(image)
    return {
        "Id": f"{engine['count']:012d}",
        "Image": image,
        "RestartCount": restarts,
        "State": {
            "Status": state,
            "ExitCode": 3 if restarts else 0,
            "Pid": os.getpid(),
            **({"Health": {"Status": health}} if health else {}),
        },
        "Config": {
            "Labels": {**service.get("labels", {}), PROJECT_LABEL: document["name"]},
            "Healthcheck": {**HEALTHCHECK, "Test": engine["check"]},
        },
        "Mounts": engine["mounts"],
        "HostConfig": {"Memory": service.get("mem_limit", 0)},
        "NetworkSettings": {"Networks": {name: {"IPAddress": "127.0.0.1"} for name in service.get("networks", [])}},
    }


def refusal(document):
    """What Compose says of an option that it does not know; empty without one."""
    (service,) = document["services"].values()
    return "additional properties 'imagee' not allowed" if "imagee" in service else ""


def up(engine, words, path):
    document = json.loads(Path(path).read_text())
    (name,) = document["services"]
    if refusal(document):
        return 15, "", refusal(document)
    found = engine["containers"]
    label = document["services"][name]["labels"][LABEL]
    image = engine["images"].get(document["services"][name]["image"], document["services"][name]["image"])
    if engine["behaviour"].get(image) == "taken":
        engine["containers"] = []
        return 1, "", "Bind for 0.0.0.0:80 failed: port is already allocated"
    if not found or "--force-recreate" in words or found[0]["Config"]["Labels"].get(LABEL) != label:
        engine["containers"] = [container(engine, document, name)]
    elif found[0]["State"]["Status"] not in ("running", "restarting"):
        engine["containers"] = [{**container(engine, document, name), "Id": found[0]["Id"]}]
    return 0, "", ""


def ps(engine, words):
    return 0, "\n".join(one["Id"] for one in engine["containers"]), ""


def inspect(engine, words):
    return 0, json.dumps([one for one in engine["containers"] if one["Id"] in words]), ""


def image(engine, words):
    known, reference = engine["images"], words[-1]
    if words[1] == "inspect":
        names = words[words.index("--format") + 2 :]
        found = [known.get(name, name) for name in names if name in known or name in known.values()]
        return (0 if len(found) == len(names) else 1), "\n".join(found), ""
    if words[1] == "ls":
        return 0, "\n".join(f"{known[tag]} {tag}" for tag in known if tag.startswith(f"{reference}:")), ""
    known.pop(reference, None)
    return 0, "", ""


def pull(engine, words):
    if words[-1] not in engine["pullable"]:
        return 1, "", "manifest unknown."
    engine["images"][words[-1]] = engine["pullable"][words[-1]]
    return 0, "", ""


def login(engine, words):
    if engine["stdin"] != engine["password"]:
        return 1, "", "Error response from daemon: login attempt failed with status: 401 Unauthorized"
    return 0, "Login Succeeded", ""


def build(engine, words):
    engine["images"][words[words.index("--tag") + 1]] = f"sha256:built-{len(engine['images'])}"
    return 0, "", ""


def info(engine, words):
    return 0, "\n".join(engine["proxies"]), ""


def volume(engine, words):
    made = engine.setdefault("made", [])
    if words[1] == "ls":
        return 0, "\n".join([*(["miniweb-web_data"] if engine["volume"] else []), *made]), ""
    if words[1] == "create":
        made.append(words[-1])
    if words[1] == "rm" and engine.get("in_use"):
        return 1, "", f"Error response from daemon: remove {words[-1]}: volume is in use - [0123]"
    if words[1] == "inspect" and not (engine["volume"] or words[-1] in made):
        return 1, "", "no such volume"
    return 0, engine["volume"] if words[1] == "inspect" else "", ""


def turn(engine, words):
    if len(words) < 2:
        return 1, "", f"'docker {words[0]}' requires at least 1 argument"
    for one in engine["containers"]:
        one["State"]["Status"] = "exited" if words[0] == "stop" else "running"
        one["Mounts"] = engine["mounts"]
        if one["Image"] in engine["opens_data_late"]:
            (Path(engine["volume"]) / "opened").write_text(one["Image"])
    return 0, "", ""


def logs(engine, words):
    return 0, "the last words", ""


def rm(engine, words):
    engine["containers"] = []
    return 0, "", ""


def execute(engine, words):
    time.sleep(engine["exec_seconds"])
    return engine["exec_code"], engine["exec_output"], ""


def compose(engine, words):
    if "up" in words:
        return up(engine, words, words[words.index("--file") + 1])
    if "down" in words:
        return rm(engine, words)
    if "run" in words:
        if engine["run_opens_data"]:
            (Path(engine["volume"]) / "opened").write_text("by a command")
        return engine["run_code"], engine["run_output"], ""
    if "config" in words:
        refused = refusal(json.loads(engine["stdin"]))
        return (15 if refused else 0), "", refused
    return unexpected(engine, words)


def builder(engine, words):
    return engine["prune_code"], "", ""


def network(engine, words):
    if words[1] == "inspect" and words[-1] not in engine["networks"]:
        return 1, "", "No such network"
    if words[1] == "create":
        engine["networks"].append(words[-1])
    return 0, "false", ""


def unexpected(engine, words):
    return 2, "", f"unexpected: {' '.join(words)}"


COMMANDS = {
    "build": build,
    "builder": builder,
    "compose": compose,
    "exec": execute,
    "image": image,
    "info": info,
    "inspect": inspect,
    "login": login,
    "logs": logs,
    "network": network,
    "ps": ps,
    "pull": pull,
    "restart": turn,
    "rm": rm,
    "stop": turn,
    "unpause": turn,
    "volume": volume,
}


def answer(here, words, data=""):
    """Return the exit code, output and errors of a call, and record it in this directory."""
    with (here / "told").open("a") as told:
        print(*words, file=told)
    state = here / "engine.json"
    engine = json.loads(state.read_text())
    engine["stdin"] = data or ""
    command = words[2:] if words[0] == "--config" else words
    result = COMMANDS.get(command[0], unexpected)(engine, command)
    state.write_text(json.dumps(engine))
    return result


def main():
    words = sys.argv[1:]
    code, out, err = answer(Path(__file__).resolve().parent, words, sys.stdin.read() if "-" in words else "")
    print(out)
    print(err, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
