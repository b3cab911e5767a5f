# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""What services provide for one another, similar to ``conf.d``: scrape jobs, rules, dashboards, certificates.

A contribution is a file ``<service>.<ext>`` in ``contributions/<reader>/``, a directory that the reader mounts.
``contributions/<reader>.json`` records who owns each file, how the reader checks and reloads its files, the hash of
the files that it is known to have loaded, and, while a change is unverified, the previous files.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import re
import ssl
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import dump, load
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import Container, ServiceError
from ansible_collections.miniweb.stack.plugins.module_utils.compose.plan import content_hash, digest
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    cause,
    locked,
    read_file,
    readable,
    write_file,
)
from ansible_collections.miniweb.stack.plugins.module_utils.waiting import until

RESTART_SECONDS = 60
PROOF_DEFAULTS = {"on_server": False, "differs": False, "timeout": 30}
HIDDEN = ".password"
CERTIFICATES = ".pem"
# A file that a run would create, in check mode
NOT_MADE_YET = FileState(b"", 0o400)
WARNING = "WARNING: "


@dataclasses.dataclass(frozen=True)
class Contribution:
    """A file for a reader; None as content means that this service withdraws it."""

    reader: str
    file: str
    content: bytes | None

    @property
    def action(self) -> str:
        """Description of what happens to it."""
        return f"{'withdraw' if self.content is None else 'contribute'} {self.reader}/{self.file}"


@dataclasses.dataclass(frozen=True)
class Reader:
    """How a service reads contributions; ``uid`` is the user who must be able to read them."""

    directory: str
    uid: int
    check_command: list[str] | None = None
    reload_command: list[str] | None = None
    reload_proof: dict[str, t.Any] | None = None


@dataclasses.dataclass
class Index:
    """The record next to a reader's directory.

    :param owners: the services that own a file, by file.
    :param reader: None while the reader is not deployed.
    :param applied: hash of what the reader is verified to have loaded; empty while that is unknown.
    :param pending: content and owners before a change that is not verified yet, by file.
    """

    owners: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    reader: Reader | None = None
    applied: str = ""
    pending: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)

    def own(self, file: str, owners: list[str]) -> None:
        """Record the owner of a file."""
        others = {name: services for name, services in self.owners.items() if name != file}
        self.owners = {**others, file: sorted(owners)} if owners else others


def reader_of(value: dict[str, t.Any] | None) -> Reader | None:
    """Return a reader from its JSON record, written by this version or another one."""
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
    """Return the contributions described in a module's parameters.

    :param read: returns a file below the service's directory.
    :raises ServiceError: a name is invalid, a source does not exist, or a certificate is none.
    """
    result = []
    for item in items:
        file = f"{item['shared'] or service}.{item['ext']}"
        if any(one.reader == item["reader"] and one.file == file for one in result):
            raise ServiceError(f'contributions: "{item["reader"]}/{file}" is described twice; give every file once.')
        if item["secret"] is not None and not file.endswith(HIDDEN):
            raise ServiceError(
                f'contributions: "{item["reader"]}/{file}" is a secret; let its ext be "password" or end with "{HIDDEN}".'
            )
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
        known = text is not None or found is not NOT_MADE_YET
        if file.endswith(CERTIFICATES) and known and not are_certificates(content):
            raise ServiceError(
                f'contributions: "{item["reader"]}/{file}" of the service "{service}" holds no certificate'
                f"{'' if content.strip() else ': it is empty'}; provide one in PEM format."
            )
        result.append(Contribution(item["reader"], file, content))
    return result


def are_certificates(content: bytes) -> bool:
    """Return whether a text has at least one certificate in PEM format, and none that cannot be read."""
    try:
        text = content.decode(errors="replace").encode("ascii", errors="ignore").decode()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError):
        return False
    return True


class Store:
    """The directory of all contributions on the server."""

    def __init__(self, path: str) -> None:
        self.path = path

    def lock(self) -> t.ContextManager[None]:
        """Lock all contributions."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        return locked(os.path.join(self.path, ".lock"))

    def directory(self, reader: str) -> str:
        """Return the directory that the reader mounts."""
        return os.path.join(self.path, reader)

    def read(self, reader: str, file: str) -> FileState | None:
        """Return the current content of a contribution."""
        return read_file(os.path.join(self.directory(reader), file))

    def index(self, reader: str) -> Index:
        """Return the record of a reader."""
        value = load(read_file(os.path.join(self.path, f"{reader}.json")))
        reader = reader_of(value.get("reader"))
        return Index(value.get("owners", {}), reader, value.get("applied", ""), value.get("pending", {}))

    def save_index(self, reader: str, index: Index) -> None:
        """Write the record, if it has changed."""
        if index != self.index(reader):
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            write_file(os.path.join(self.path, f"{reader}.json"), FileState(dump(dataclasses.asdict(index)), 0o600))

    def readers(self) -> list[str]:
        """Return the names of all readers with a record."""
        if not os.path.isdir(self.path):
            return []
        return sorted(name[: -len(".json")] for name in os.listdir(self.path) if name.endswith(".json"))

    def _names(self, reader: str) -> list[str]:
        """Return the names of a reader's files, except those that are being written."""
        path = self.directory(reader)
        return sorted(name for name in os.listdir(path) if not name.startswith(".")) if os.path.isdir(path) else []

    def hash(self, reader: str) -> str:
        """Return one hash of all files of a reader."""
        found = [(name, self.read(reader, name)) for name in self._names(reader)]
        return digest([[name, content_hash(file.content)] for name, file in found if file])

    def make_directory(self, reader: str) -> None:
        """Create the directory that the reader mounts. Only root has access to its parent directory."""
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

    def give(self, reader: str, uid: int) -> list[str]:
        """Make the reader's user the owner of all its files; return the names of those that had another owner."""
        self.make_directory(reader)
        paths = {name: os.path.join(self.directory(reader), name) for name in self._names(reader)}
        others = [name for name, path in paths.items() if os.stat(path).st_uid != uid]
        for name in others:
            os.chown(paths[name], uid, uid)
        return others

    def changes(self, service: str, wanted: list[Contribution]) -> list[Contribution]:
        """Return the differences from what the service wants: files to write, and, without content, those to withdraw.

        Unverified changes of an interrupted run are ignored: the previous files count.
        """
        result = []
        for one in wanted:
            found, index = self.read(one.reader, one.file), self.index(one.reader)
            proven = found is not None and one.file not in index.pending
            if not proven or found.content != one.content or service not in index.owners.get(one.file, []):
                result.append(one)
        kept = {(one.reader, one.file) for one in wanted}
        for reader in self.readers():
            index = self.index(reader)
            owners = {**index.owners, **{file: before["owners"] for file, before in index.pending.items()}}
            for file in owners:
                if service in owners[file] and (reader, file) not in kept:
                    result.append(Contribution(reader, file, None))
        return result

    def outdated(self, service: str, changes: list[Contribution], wanted: list[Contribution]) -> list[str]:
        """Return the deployed readers that, after these changes, have not loaded their current files."""
        altered = {one.reader for one in changes if self._alters(service, one)}
        found = {one.reader: self.index(one.reader) for one in [*changes, *wanted]}
        return sorted(
            name
            for name, index in found.items()
            if index.reader and (name in altered or index.applied != self.hash(name))
        )

    def _alters(self, service: str, change: Contribution) -> bool:
        """Return whether a change affects a file, not only its owners."""
        if change.content is None:
            return self.index(change.reader).owners.get(change.file) == [service]
        found = self.read(change.reader, change.file)
        return found is None or found.content != change.content

    def diff(self, changes: list[Contribution]) -> list[dict[str, str]]:
        """Return Ansible's diff of the changes; of credentials, only the names are shown."""
        result = []
        for one in changes:
            path, found = os.path.join(self.directory(one.reader), one.file), self.read(one.reader, one.file)
            texts = [
                "" if content is None else "(a secret)\n" if one.file.endswith(HIDDEN) else readable(content)
                for content in (found.content if found else None, one.content)
            ]
            result.append({"before_header": path, "after_header": path, "before": texts[0], "after": texts[1]})
        return result

    def change(self, service: str, changes: list[Contribution]) -> None:
        """Apply the changes. The previous files are recorded first, until a reader has verified the new ones."""
        for one in changes:
            index = self.index(one.reader)
            found, before = self.read(one.reader, one.file), index.owners.get(one.file, [])
            content = base64.b64encode(found.content).decode() if found else None
            index.pending.setdefault(one.file, {"content": content, "owners": before})
            others = [owner for owner in before if owner != service]
            index.own(one.file, others if one.content is None else [*others, service])
            self.save_index(one.reader, index)
            if one.content is not None or not others:
                self.put(one.reader, one.file, one.content)

    def undo(self, reader: str) -> None:
        """Restore the files and owners from before unverified changes."""
        index = self.index(reader)
        for file, before in index.pending.items():
            self.put(reader, file, None if before["content"] is None else base64.b64decode(before["content"]))
            index.own(file, before["owners"])
        index.pending = {}
        self.save_index(reader, index)

    def note_applied(self, reader: str, applied: str) -> None:
        """Record the hash of what a reader has loaded; empty before it loads something else."""
        index = self.index(reader)
        index.applied = applied
        self.save_index(reader, index)

    def owners_named(self, reader: str, text: str) -> str:
        """Return the owners of the files that a program's message mentions, for use in a sentence; empty if none."""
        index = self.index(reader)
        return ", ".join(
            f"{file} of the service {' and '.join(owners)}"
            for file, owners in index.owners.items()
            # A match within a longer file name does not count.
            if re.search(rf"(?<![\w.-]){re.escape(file)}", text)
        )


def prove(engine: Engine, container: str, proof: dict[str, t.Any], before: str) -> tuple[bool, str]:
    """Poll until the reload has taken effect or the timeout is reached; return whether it has, and the last output."""
    said = ""

    def taken() -> bool:
        nonlocal said
        code, said = ask(engine, container, proof)
        return code == 0 and not (proof["differs"] and said == before)

    return until(taken, proof["timeout"]), said


def ask(engine: Engine, container: str, proof: dict[str, t.Any]) -> tuple[int, str]:
    """Run a verification once, within its total timeout; return its exit code and output."""
    if proof["on_server"]:
        return engine.limited(proof["command"], proof["timeout"])
    return engine.execute(container, proof["command"], proof["timeout"])


def reload_containers(engine: Engine, command: list[str] | None, proof: dict[str, t.Any] | None) -> None:
    """Make the running containers reload their files and verify it. Output that begins with WARNING is shown.

    :raises ServiceError: the command failed, or the reload did not take effect.
    """
    for container in engine.containers():
        before = ask(engine, container.id, proof)[1] if proof and proof["differs"] else ""
        if command:
            code, output = engine.execute(container.id, command)
            if code:
                raise ServiceError(
                    f'reload_command: `{" ".join(command)}` of the service "{engine.name}" exited with {code}: '
                    f"{cause(output)}."
                )
        if proof:
            taken, output = prove(engine, container.id, proof, before)
            if not taken:
                raise ServiceError(
                    f'reload_proof: the service "{engine.name}" has not loaded its new files within '
                    f"{proof['timeout']} s: {cause(output)}."
                )
            if output.startswith(WARNING):
                engine.module.warn(output[len(WARNING) :])


def start_again(detached: list[Container], engine: Engine) -> None:
    """Start containers again that no longer see what lies in their directories, and wait until they are healthy."""
    if detached:
        engine.run("restart", *(container.id for container in detached))
        until(lambda: all(container.settled for container in engine.containers()), RESTART_SECONDS)


def synchronise(store: Store, name: str, engine_of: t.Callable[[str, str], Engine]) -> list[str]:
    """Have a reader check, load and verify its files; return descriptions of what was done.

    A reader that is not deployed or not running is no error: it loads the files when it starts.

    :param engine_of: returns the engine of a service by its name and directory.
    :raises ServiceError: the reader rejects them.
    """
    reader, lying = store.index(name).reader, store.hash(name)
    outdated = reader is not None and store.index(name).applied != lying
    loaded = outdated and load_contributed(store, name, reader, engine_of)
    index = store.index(name)
    index.applied = lying if loaded else index.applied
    index.pending = {}
    store.save_index(name, index)
    return [f"reload {name}"] if loaded else []


def load_contributed(store: Store, name: str, reader: Reader, engine_of: t.Callable[[str, str], Engine]) -> bool:
    """Have a reader check and load its files; return whether it is running and has loaded them.

    :raises ServiceError: the reader rejects them.
    """
    engine = engine_of(name, reader.directory)
    containers = engine.containers()
    store.give(name, reader.uid)
    if not containers:
        return False
    if reader.check_command:
        code, output = engine.one_off(reader.check_command)
        if code:
            raise ServiceError(f"{name} rejects the contributed files: {cause(output)}", logs=output.splitlines())
    if all(container.state != "running" for container in containers):
        return False
    # It may have loaded them, even if the verification fails or this run is interrupted.
    store.note_applied(name, "")
    start_again([container for container in containers if container.detached], engine)
    reload_containers(engine, reader.reload_command, reader.reload_proof)
    return True


def contribute(
    store: Store,
    service: str,
    changes: list[Contribution],
    wanted: list[Contribution],
    engine_of: t.Callable[[str, str], Engine],
) -> list[str]:
    """Apply the changes and have each reader verify them; return descriptions of what was done besides the changes.

    :raises ServiceError: a reader rejects them; the changes have then been undone.
    """
    actions = []
    with store.lock():
        for reader in sorted({one.reader for one in [*changes, *wanted]}):
            # Changes left by an interrupted run are unverified. Their owner provides them again.
            store.undo(reader)
            of_reader = [one for one in changes if one.reader == reader]
            store.change(service, of_reader)
            try:
                actions += synchronise(store, reader, engine_of)
            except ServiceError as error:
                named = store.owners_named(reader, f"{error} {' '.join(error.details.get('logs', []))}")
                brought = ", ".join(f"{one.file} of the service {service}" for one in of_reader)
                end = take_back(store, reader, engine_of)
                message = f"contributions: {named or brought or reader}: {str(error).rstrip('.')}; {end}."
                raise ServiceError(message, **error.details) from None
    return actions


def take_back(store: Store, reader: str, engine_of: t.Callable[[str, str], Engine]) -> str:
    """Restore what a reader had before it rejected a change; return a description of the result."""
    store.undo(reader)
    try:
        synchronise(store, reader, engine_of)
    except ServiceError as error:
        return f"and its previous files are rejected, too: {str(error).rstrip('.')}"
    return f"{reader} keeps what it had"
