# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""What services leave for one another, in the way of ``conf.d``: scrape jobs, rules, dashboards, certificates.

A contribution is a flat file ``<service>.<ext>`` in ``contributions/<reader>/``, a directory that the reader mounts. Beside
it ``contributions/<reader>.json`` notes who owns each file, how the reader checks and reloads its files, and the hash of
those that it last proved to have loaded.
"""

from __future__ import annotations

import dataclasses
import os
import re
import time
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine, locked
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import dump, load
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import ServiceError
from ansible_collections.miniweb.stack.plugins.module_utils.compose.plan import content_hash, digest
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    last_line,
    read_file,
    write_file,
)

PROOF_PAUSE_SECONDS = 0.3
PROOF_DEFAULTS = {"on_server": False, "differs": False, "timeout": 30}
HIDDEN = (".password",)


@dataclasses.dataclass(frozen=True)
class Contribution:
    """A file for a reader. Content None: it is not to be there any more, for this service."""

    reader: str
    file: str
    content: bytes | None

    @property
    def action(self) -> str:
        """What happens to it, in words."""
        return f"{'withdraw' if self.content is None else 'contribute'} {self.reader}/{self.file}"


@dataclasses.dataclass(frozen=True)
class Change:
    """A change that was carried out, with the file and its owners as they were before."""

    contribution: Contribution
    file: FileState | None
    owners: list[str]


@dataclasses.dataclass(frozen=True)
class Reader:
    """How a service that reads contributions takes them; ``uid`` is who must be able to read them."""

    directory: str
    uid: int
    check_command: list[str] | None = None
    reload_command: list[str] | None = None
    reload_proof: dict[str, t.Any] | None = None


@dataclasses.dataclass
class Index:
    """What is noted beside a reader's directory: owners by file, the reader if there is one, and what it has loaded."""

    owners: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    reader: Reader | None = None
    applied: str = ""


def reader_of(value: dict[str, t.Any] | None) -> Reader | None:
    """Return a reader that was noted as JSON, by this version or another one."""
    if not value:
        return None
    known = {field.name for field in dataclasses.fields(Reader)}
    given = {name: item for name, item in value.items() if name in known}
    if given.get("reload_proof"):
        given["reload_proof"] = {**PROOF_DEFAULTS, **given["reload_proof"]}
    return Reader(**given)


def described(
    service: str, items: list[dict[str, t.Any]], read: t.Callable[[str], FileState | None]
) -> list[Contribution]:
    """Return the contributions of a module's parameters.

    :param read: returns a file below the service's directory.
    :raises ServiceError: a name cannot be used, or a source does not exist.
    """
    result = []
    for item in items:
        file = f"{item['shared'] or service}.{item['ext']}"
        if not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in (file, item["reader"])):
            raise ServiceError(
                f'contributions: "{item["reader"]}/{file}" may only have letters, digits, ".", "_" and "-".'
            )
        text = item["content"] if item["content"] is not None else item["secret"]
        if text is None:
            found = read(item["source"])
            if found is None:
                raise ServiceError(
                    f'contributions: the source "{item["source"]}" of {file} does not exist in the directory of '
                    f'"{service}": make it before the service, or give its content.'
                )
            content = found.content
        else:
            content = text.encode()
        result.append(Contribution(item["reader"], file, content))
    return result


class Store:
    """The directory of all contributions on the server."""

    def __init__(self, path: str) -> None:
        self.path = path

    def lock(self) -> t.ContextManager[None]:
        """Hold all contributions."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        return locked(os.path.join(self.path, ".lock"))

    def directory(self, reader: str) -> str:
        """Return the directory that the reader mounts."""
        return os.path.join(self.path, reader)

    def read(self, reader: str, file: str) -> FileState | None:
        """Return a contribution as it lies there."""
        return read_file(os.path.join(self.directory(reader), file))

    def index(self, reader: str) -> Index:
        """Return what is noted of a reader."""
        value = load(read_file(os.path.join(self.path, f"{reader}.json")))
        return Index(value.get("owners", {}), reader_of(value.get("reader")), value.get("applied", ""))

    def save_index(self, reader: str, index: Index) -> None:
        """Note it, if it is not what is noted already."""
        if index != self.index(reader):
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            write_file(os.path.join(self.path, f"{reader}.json"), FileState(dump(dataclasses.asdict(index)), 0o600))

    def readers(self) -> list[str]:
        """Return the names of all readers of which something is noted."""
        if not os.path.isdir(self.path):
            return []
        return sorted(name[: -len(".json")] for name in os.listdir(self.path) if name.endswith(".json"))

    def hash(self, reader: str) -> str:
        """Return one hash of all that lies there for a reader."""
        path = self.directory(reader)
        names = sorted(os.listdir(path)) if os.path.isdir(path) else []
        found = [(name, self.read(reader, name)) for name in names if not name.startswith(".")]
        return digest([[name, content_hash(file.content)] for name, file in found if file])

    def make_directory(self, reader: str) -> None:
        """Make the directory that the reader mounts. Who is not root cannot come to it, as the one above is closed."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        os.makedirs(self.directory(reader), exist_ok=True)
        os.chmod(self.directory(reader), 0o755)

    def put(self, reader: str, file: str, content: bytes | None) -> None:
        """Write a file for the reader's user, or remove it."""
        path = os.path.join(self.directory(reader), file)
        if content is not None:
            known = self.index(reader).reader
            uid = known.uid if known else 0
            self.make_directory(reader)
            write_file(path, FileState(content, 0o400, uid, uid))
        elif os.path.exists(path):
            os.unlink(path)

    def give(self, reader: str, uid: int) -> None:
        """Give all that lies there to the reader's user."""
        self.make_directory(reader)
        for name in os.listdir(self.directory(reader)):
            path = os.path.join(self.directory(reader), name)
            if os.stat(path).st_uid != uid:
                os.chown(path, uid, uid)

    def changes(self, service: str, wanted: list[Contribution]) -> list[Contribution]:
        """Return what is not as the service wants it: files to write, and, without content, those to withdraw."""
        result = []
        for one in wanted:
            found, index = self.read(one.reader, one.file), self.index(one.reader)
            if found is None or found.content != one.content or service not in index.owners.get(one.file, []):
                result.append(one)
        kept = {(one.reader, one.file) for one in wanted}
        for reader in self.readers():
            for file, owners in self.index(reader).owners.items():
                if service in owners and (reader, file) not in kept:
                    result.append(Contribution(reader, file, None))
        return result

    def outdated(self, wanted: list[Contribution]) -> list[str]:
        """Return the readers of these contributions that have not proved to have loaded what lies there for them."""
        found = {one.reader: self.index(one.reader) for one in wanted}
        return sorted(name for name, index in found.items() if index.reader and index.applied != self.hash(name))

    def diff(self, changes: list[Contribution]) -> list[dict[str, str]]:
        """Return Ansible's diff of the changes; credentials are only named."""
        result = []
        for one in changes:
            path, found = os.path.join(self.directory(one.reader), one.file), self.read(one.reader, one.file)
            texts = [
                "" if content is None else "(a secret)\n" if one.file.endswith(HIDDEN) else content.decode()
                for content in (found.content if found else None, one.content)
            ]
            result.append({"before_header": path, "after_header": path, "before": texts[0], "after": texts[1]})
        return result

    def change(self, service: str, changes: list[Contribution]) -> list[Change]:
        """Carry the changes out; return what is needed to undo them."""
        done = []
        for one in changes:
            before = self.index(one.reader).owners.get(one.file, [])
            done.append(Change(one, self.read(one.reader, one.file), before))
            others = [owner for owner in before if owner != service]
            if one.content is not None:
                # Noted first: an interruption in between leaves a file that its owner knows.
                self._note_owners(one, [*others, service])
                self.put(one.reader, one.file, one.content)
                continue
            if not others:
                self.put(one.reader, one.file, None)
            self._note_owners(one, others)
        return done

    def undo(self, done: list[Change]) -> None:
        """Put back the files and owners that were there before."""
        for change in reversed(done):
            one = change.contribution
            self.put(one.reader, one.file, change.file.content if change.file else None)
            self._note_owners(one, change.owners)

    def _note_owners(self, one: Contribution, owners: list[str]) -> None:
        index = self.index(one.reader)
        others = {file: names for file, names in index.owners.items() if file != one.file}
        index.owners = {**others, one.file: sorted(owners)} if owners else others
        self.save_index(one.reader, index)

    def owners_named(self, reader: str, text: str) -> str:
        """Return whose files a program's message names, in words for a sentence; empty when it names none."""
        index = self.index(reader)
        named = [
            f"{file} of the service {' and '.join(owners)}" for file, owners in index.owners.items() if file in text
        ]
        return ", ".join(named)


def prove(engine: Engine, container: str, proof: dict[str, t.Any], before: str) -> tuple[bool, str]:
    """Ask until the reload has taken effect, or the time is over; return whether it has, and the last answer."""
    deadline = time.monotonic() + proof["timeout"]
    while True:
        code, output = ask(engine, container, proof)
        if code == 0 and not (proof["differs"] and output == before):
            return True, output
        if time.monotonic() > deadline:
            return False, output
        time.sleep(PROOF_PAUSE_SECONDS)


def ask(engine: Engine, container: str, proof: dict[str, t.Any]) -> tuple[int, str]:
    """Run a proof once; return its exit code and output."""
    if proof["on_server"]:
        code, out, err = engine.module.run_command(proof["command"], cwd=engine.directory)
        return code, (out + err).strip()
    return engine.execute(container, proof["command"])


def reload_containers(engine: Engine, command: list[str] | None, proof: dict[str, t.Any] | None) -> None:
    """Make the running containers read their files again and prove it.

    :raises ServiceError: the command failed, or the reload did not take effect.
    """
    for container in engine.containers():
        before = ask(engine, container.id, proof)[1] if proof and proof["differs"] else ""
        if command:
            code, output = engine.execute(container.id, command)
            if code:
                raise ServiceError(
                    f'reload_command: `{" ".join(command)}` of the service "{engine.name}" ended with {code}: '
                    f"{last_line(output)}."
                )
        if proof:
            taken, output = prove(engine, container.id, proof, before)
            if not taken:
                raise ServiceError(
                    f'reload_proof: the service "{engine.name}" has not taken its new files within '
                    f"{proof['timeout']} s: {last_line(output)}."
                )


def synchronise(store: Store, name: str, engine_of: t.Callable[[str, str], Engine]) -> list[str]:
    """Let a reader check, load and prove what lies there for it; return what was done, in words.

    A reader that is not deployed or does not run is no error: the files wait.

    :param engine_of: returns the engine of a service by its name and directory.
    :raises ServiceError: the reader refuses them.
    """
    index = store.index(name)
    wanted = store.hash(name)
    if index.reader is None or index.applied == wanted:
        return []
    engine = engine_of(name, index.reader.directory)
    containers = engine.containers()
    store.give(name, index.reader.uid)
    if not containers:
        return []
    if index.reader.check_command:
        code, output = engine.one_off(index.reader.check_command)
        if code:
            raise ServiceError(f"{name} refuses what is contributed: {last_line(output)}", logs=output.splitlines())
    if all(container.state != "running" for container in containers):
        return []
    reload_containers(engine, index.reader.reload_command, index.reader.reload_proof)
    index.applied = wanted
    store.save_index(name, index)
    return [f"reload {name}"]


def contribute(
    store: Store,
    service: str,
    changes: list[Contribution],
    wanted: list[Contribution],
    engine_of: t.Callable[[str, str], Engine],
) -> list[str]:
    """Carry the changes out and let each reader prove them; return what was done beyond the changes, in words.

    :raises ServiceError: a reader refuses them; then they are as they were before.
    """
    actions = []
    with store.lock():
        done = store.change(service, changes)
        readers = sorted({one.reader for one in [*changes, *wanted]})
        for reader in readers:
            try:
                actions += synchronise(store, reader, engine_of)
            except ServiceError as error:
                named = store.owners_named(reader, f"{error} {' '.join(error.details.get('logs', []))}")
                store.undo([change for change in done if change.contribution.reader == reader])
                kept = f"{reader} keeps what it had"
                try:
                    synchronise(store, reader, engine_of)
                except ServiceError as second:
                    kept = f"and what it had is refused, too: {second}"
                files = named or ", ".join(
                    f"{one.file} of the service {service}" for one in changes if one.reader == reader
                )
                raise ServiceError(
                    f"contributions: {files}: {str(error).rstrip('.')}; {kept}.", **error.details
                ) from None
    return actions
