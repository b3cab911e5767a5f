"""source_archive: the same source gives the same archive."""

from __future__ import annotations

import os
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.filter.source_fault import source_fault
from ansible_collections.miniweb.stack.plugins.module_utils.docker_ignore import Patterns
from ansible_collections.miniweb.stack.plugins.modules import source_archive
from helpers.docker_ignore import RULES, TREE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    left_by_tools = (".git/HEAD", ".venv/bin/python", ".hypothesis/examples/x", ".ruff_cache/x", ".nox/x", ".coverage")
    for name in ("app.py", "pkg/__init__.py", "pkg/__pycache__/x.pyc", "note.log", *left_by_tools):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    (directory / ".dockerignore").write_text("# comment\n**/*.log\n")
    return directory


def names(archive: Path) -> set[str]:
    with tarfile.open(archive) as opened:
        return set(opened.getnames())


def test_same_source_same_archive(run_module, source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "new" / "source.tar.gz"
    arguments = {"path": str(source), "dest": str(dest)}
    first = run_module("source_archive", **arguments)
    content, inode = dest.read_bytes(), dest.stat().st_ino
    os.utime(source / "app.py", (1, 1))
    second = run_module("source_archive", **arguments)
    assert (first["changed"], second["changed"]) == (True, False)
    assert first["digest"] == second["digest"]
    assert (dest.read_bytes(), dest.stat().st_ino) == (content, inode)
    assert dest.stat().st_mode & 0o777 == 0o600


def test_excluded_names(run_module, source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "source.tar.gz"
    (source / "secret.txt").write_text("x")
    arguments = {"path": str(source), "dest": str(dest), "exclude": ["secret.*"]}
    run_module("source_archive", **arguments, extra_files={"Dockerfile": "FROM x\n"})
    assert names(dest) == {"Dockerfile", "source/.dockerignore", "source/app.py", "source/pkg/__init__.py"}


@pytest.mark.parametrize("change", ["content", "name", "executable", "extra file"])
def test_digest_sees(run_module, source: Path, tmp_path: Path, change: str) -> None:
    arguments = {"path": str(source), "dest": str(tmp_path / "source.tar.gz")}
    before = run_module("source_archive", **arguments)
    if change == "content":
        (source / "app.py").write_text("another")
    elif change == "name":
        (source / "app.py").rename(source / "other.py")
    elif change == "executable":
        (source / "app.py").chmod(0o755)
    else:
        arguments["extra_files"] = {"Dockerfile": "FROM x\n"}
    after = run_module("source_archive", **arguments)
    assert after["changed"]
    assert after["digest"] != before["digest"]


def test_check_mode_writes_nothing(run_module, source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "new" / "source.tar.gz"
    result = run_module("source_archive", check_mode=True, path=str(source), dest=str(dest))
    assert result["changed"]
    assert not dest.parent.exists()


def test_digest_keeps_names_and_contents_apart() -> None:
    assert source_archive.digest_of({"ab": (b"c", False)}) != source_archive.digest_of({"a": (b"bc", False)})


def test_missing_and_empty_directory(run_module, tmp_path: Path) -> None:
    dest = str(tmp_path / "x.tar.gz")
    missing = run_module("source_archive", path=str(tmp_path / "none"), dest=dest)
    assert "is not a directory on the controller" in missing["msg"]
    (tmp_path / "empty").mkdir()
    empty = run_module("source_archive", path=str(tmp_path / "empty"), dest=dest)
    assert "holds no files to pack" in empty["msg"]


def tree(root: Path, *names: str) -> Path:
    """A directory with these files; one after an arrow is the target of a link."""
    for name in names:
        path, arrow, target = name.partition(" -> ")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            (root / path).symlink_to(target)
        else:
            (root / path).write_text(name)
    return root


def packed(run_module, root: Path, **given: Any) -> set[str]:
    """The names that are packed of a directory."""
    dest = root.with_name("packed.tar.gz")
    result = run_module("source_archive", path=str(root), dest=str(dest), **given)
    assert not result.get("failed"), result["msg"]
    return {name.removeprefix("source/") for name in names(dest)} - {".dockerignore"}


@pytest.mark.parametrize(("lines", "kept"), RULES, ids=str)
def test_dockerignore_means_what_it_means_to_docker(run_module, tmp_path: Path, lines: list[str], kept: str) -> None:
    root = tree(tmp_path / "source", *TREE.split())
    (root / ".dockerignore").write_text("\n".join(lines) + "\n", newline="")
    assert packed(run_module, root) == set(kept.split())


@pytest.mark.parametrize(
    "line",
    ["!", "! ", "[", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[^", "[^bc", "[z-a]", "a\\", "!a/["],
)
def test_a_pattern_that_docker_does_not_understand_is_refused(run_module, tmp_path: Path, line: str) -> None:
    root = tree(tmp_path / "source", "a.txt")
    (root / ".dockerignore").write_text(f"b\n{line}\n")
    result = run_module("source_archive", path=str(root), dest=str(tmp_path / "packed.tar.gz"))
    shown = line.strip()
    assert result["msg"] == f'{root}/.dockerignore: "{shown}" is no pattern that Docker understands; correct it.'


@pytest.mark.parametrize(
    ("pattern", "name", "other"),
    [
        ("**/dir2/*", "dir/dir2/file", "dir/file"),
        ("**/**/*.txt", "dir/dir/file.txt", "dir/dir/file.text"),
        ("a**/*.txt", "a/dir/dir/file.txt", "b/file.txt"),
        ("a/*.txt**", "a/file.txt", "a/b/file.txt"),
        ("a(b)c/d+{}|$.e", "a(b)c/d+{}|$.e", "a(b)c/d+{}|$xe"),
        ("a[^a]b", "a☺b", "aab"),
        ("[a-ζ]*", "α", "A"),
        ("[\\]a]", "]", "\\"),
        ("[x\\-]", "-", "y"),
        ("line*", "line\nbreak", "a\nline"),
    ],
)
def test_patterns_of_every_form(pattern: str, name: str, other: str) -> None:
    assert Patterns([pattern]).match(name)
    assert Patterns([pattern]).match(f"{name}/below")
    assert not Patterns([pattern]).match(other)


def test_what_is_excluded_by_itself_can_be_brought_back(run_module, tmp_path: Path) -> None:
    root = tree(tmp_path / "source", "app.py", "venv/x.py", ".git/HEAD", "pkg/venv/y.py", "pkg/venv/z.pyc")
    (root / ".dockerignore").write_text("!pkg/venv\n")
    assert packed(run_module, root) == {"app.py", "pkg/venv/y.py", "pkg/venv/z.pyc"}
    assert packed(run_module, root, exclude=["venv"]) == {"app.py"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["link.py -> app.py"], "link.py"),
        (["lib/x.py", "link -> lib"], "lib/x.py link/x.py"),
        (["lib/x.py", "pkg/link -> ../lib"], "lib/x.py pkg/link/x.py"),
        (["lib/x.py", "one -> two", "two -> lib"], "lib/x.py one/x.py two/x.py"),
    ],
)
def test_links_are_followed(run_module, tmp_path: Path, given: list[str], kept: str) -> None:
    root = tree(tmp_path / "source", "app.py", *given)
    assert packed(run_module, root) == {"app.py", *kept.split()}
    with tarfile.open(tmp_path / "packed.tar.gz") as opened:
        assert all(member.isfile() for member in opened)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("link.py -> none.py", 'the link "link.py" to "none.py", which leads nowhere'),
        ("link -> link", 'the link "link" to "link", which leads nowhere'),
        ("pkg/link -> ..", 'the link "pkg/link" to "..", which leads to a directory above it'),
        ("pkg/link -> .", 'the link "pkg/link" to ".", which leads to a directory above it'),
        ("link.py -> ../outside/x.py", 'the link "link.py" to "../outside/x.py", which leads out of the directory'),
        ("link -> ../outside", 'the link "link" to "../outside", which leads out of the directory'),
        ("link -> /etc/hostname", 'the link "link" to "/etc/hostname", which leads out of the directory'),
        ("link -> ../source-of-another", 'the link "link" to "../source-of-another", which leads out'),
    ],
)
def test_links_that_cannot_be_followed_are_refused(run_module, tmp_path: Path, given: str, fault: str) -> None:
    tree(tmp_path, "outside/x.py", "source-of-another/x.py")
    root = tree(tmp_path / "source", "app.py", given)
    dest = tmp_path / "packed.tar.gz"
    result = run_module("source_archive", path=str(root), dest=str(dest))
    assert fault in result["msg"]
    assert result["msg"].endswith(": remove them, or list them in its .dockerignore.")
    assert not dest.exists()
    assert result["msg"] == f"path: {source_fault(str(root))}"
    (root / ".dockerignore").write_text(given.partition(" -> ")[0])
    assert "app.py" in packed(run_module, root)
    # Nor does one matter that is not among what is wanted.
    (root / ".dockerignore").unlink()
    assert packed(run_module, root, only=["app.py"]) == {"app.py"}


def test_pipes_are_refused_and_sockets_left_out(run_module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "source", "app.py")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("gunicorn.sock")
    assert packed(run_module, root) == {"app.py"}
    os.mkfifo(root / "pipe")
    result = run_module("source_archive", path=str(root), dest=str(tmp_path / "other.tar.gz"))
    assert 'has "pipe", which is neither a file nor a directory: remove them' in result["msg"]


def test_a_name_that_is_not_utf8(run_module, tmp_path: Path) -> None:
    root = tree(tmp_path / "source", "app.py")
    (root / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    assert packed(run_module, root) == {"app.py", os.fsdecode(b"caf\xe9.txt")}


BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj"


def key(kind: str, between: str = "\n") -> str:
    return f"-----BEGIN {kind}-----{between}{BASE64}\n-----END {kind}-----\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".env", "A=1"),
        (".env.production", "A=1"),
        (".envrc", "export A=1"),
        ("deploy/web.env", "A=1"),
        ("id_ed25519", "x"),
        ("keys/id_rsa", "x"),
        ("store.p12", "x"),
        ("store.jks", "x"),
        ("server.txt", key("PRIVATE KEY")),
        ("server.key", key("RSA PRIVATE KEY")),
        ("server.pem", "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n" + key("EC PRIVATE KEY")),
        ("deploy_key", key("OPENSSH PRIVATE KEY", "\r\n")),
        ("encrypted.pem", key("ENCRYPTED PRIVATE KEY")),
        ("old.pem", key("RSA PRIVATE KEY", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n")),
        ("key.asc", key("PGP PRIVATE KEY BLOCK", "\n\n")),
        ("settings.yml", "key: |\n  " + key("PRIVATE KEY", "\n  ")),
        ("account.json", '{"private_key": "' + key("PRIVATE KEY", "\\n") + '"}'),
    ],
)
def test_what_looks_like_a_secret_is_refused_unless_told(run_module, tmp_path: Path, name: str, content: str) -> None:
    root = tree(tmp_path / "source", "app.py", name)
    (root / name).write_text(content)
    dest = tmp_path / "packed.tar.gz"
    result = run_module("source_archive", path=str(root), dest=str(dest))
    assert f'has what looks like private keys or files with secrets, "{name}": list them in its' in result["msg"]
    assert BASE64 not in result["msg"]
    assert not dest.exists()
    assert result["msg"] == f"path: {source_fault(str(root))}"
    assert source_fault(str(root), [name]) == ""
    assert packed(run_module, root, allowed_secrets=[name]) == {"app.py", name}
    (root / ".dockerignore").write_text(name)
    assert packed(run_module, root) == {"app.py"}


def test_a_pattern_of_allowed_secrets_is_checked(tmp_path: Path) -> None:
    root = tree(tmp_path / "source", "app.py")
    assert source_fault(str(root), ["["]) == 'allowed_secrets: "[" is no pattern that Docker understands; correct it.'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".env.example", "A=1"),
        ("example.env", "A=1"),
        ("env.py", "A=1"),
        ("environment", "A=1"),
        ("id_rsa.pub", "ssh-rsa AAAA"),
        ("certificate.pem", "-----BEGIN CERTIFICATE-----\n" + BASE64),
        ("public.pem", key("PUBLIC KEY")),
        ("check.py", 'if text.startswith("-----BEGIN PRIVATE KEY-----"):\n    pass\n'),
        ("README.md", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n"),
    ],
)
def test_what_only_resembles_a_secret_is_packed(run_module, tmp_path: Path, name: str, content: str) -> None:
    root = tree(tmp_path / "source", "app.py", name)
    (root / name).write_text(content)
    assert packed(run_module, root) == {"app.py", name}


def test_a_message_does_not_list_everything(run_module, tmp_path: Path) -> None:
    root = tree(tmp_path / "source", *(f"{number}.env" for number in range(9)))
    assert '"4.env" and 4 more: list' in source_fault(str(root))
    root = tree(tmp_path / "other", *(f"{number} -> none" for number in range(9)))
    assert source_fault(str(root)).count("leads nowhere") == 5
    assert "; and 4 more: remove" in source_fault(str(root))
