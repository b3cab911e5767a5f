"""Patterns of .dockerignore and what Docker packs with them: source_archive and Docker itself are asked the same."""

from __future__ import annotations

TREE = "a.txt b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"
# Lines, and the files that are left
RULES: list[tuple[list[str], str]] = [
    ([], TREE),
    (["a.txt"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["/a.txt"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["./b/../a.txt"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["  a.txt \t"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["\ufeffa.txt"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["a.txt\r"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["# a.txt", "", "   "], TREE),
    ([" # a.txt"], TREE),
    (["b"], "a.txt f.log g*h é.txt"),
    (["b/"], "a.txt f.log g*h é.txt"),
    (["b/*"], "a.txt f.log g*h é.txt"),
    (["b/**"], "a.txt f.log g*h é.txt"),
    (["b/d"], "a.txt b/a.txt b/c.log f.log g*h é.txt"),
    (["*/d"], "a.txt b/a.txt b/c.log f.log g*h é.txt"),
    (["d"], TREE),
    (["**/d"], "a.txt b/a.txt b/c.log f.log g*h é.txt"),
    (["*.txt"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h"),
    (["*/*.txt"], "a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["**/*.txt"], "b/c.log b/d/e.log f.log g*h"),
    (["**.txt"], "b/c.log b/d/e.log f.log g*h"),
    (["**/a.txt"], "b/c.log b/d/e.log f.log g*h é.txt"),
    (["b/**/*.log"], "a.txt b/a.txt b/d/a.txt f.log g*h é.txt"),
    (["?.txt"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h"),
    (["[a-c].txt"], "b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["[^a].txt"], "a.txt b/a.txt b/c.log b/d/a.txt b/d/e.log f.log g*h"),
    (["g\\*h"], "a.txt b/a.txt b/c.log b/d/a.txt b/d/e.log f.log é.txt"),
    (["g[\\*]h"], "a.txt b/a.txt b/c.log b/d/a.txt b/d/e.log f.log é.txt"),
    (["atxt", "a?txt?"], TREE),
    # The last one that matches decides.
    (["*", "!a.txt"], "a.txt"),
    (["!a.txt", "*", "!f.log"], "f.log"),
    (["**", "!b/d"], "b/d/a.txt b/d/e.log"),
    (["b", "!b/d/a.txt"], "a.txt b/d/a.txt f.log g*h é.txt"),
    (["b", "!**/a.txt"], "a.txt b/a.txt b/d/a.txt f.log g*h é.txt"),
    (["b", "! /b/d"], "a.txt b/d/a.txt b/d/e.log f.log g*h é.txt"),
    (["**/*.log", "!b/**", "b/d/e.log"], "a.txt b/a.txt b/c.log b/d/a.txt g*h é.txt"),
    (["*", "!b", "b/d", "!b/d/e.log"], "b/a.txt b/c.log b/d/e.log"),
]
