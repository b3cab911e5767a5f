"""The commands up, prepare, status and down."""

from __future__ import annotations

import argparse
import os

from sandbox.commands import down, status, up
from sandbox.images import SOURCES
from sandbox.scenario import prepare
from sandbox.shell import told


def main() -> None:
    parser = argparse.ArgumentParser(prog="sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start the sandbox server and deploy to it"),
        ("prepare", "prepare what a molecule scenario needs"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--source", choices=SOURCES, default=os.environ.get("MINIWEB_IMAGES", "auto"))
    command.add_argument("--scenario", required=True, help="the molecule scenario to prepare for")
    commands.add_parser("status", help="show what is running")
    commands.add_parser("down", help="remove every trace of the sandbox")
    arguments = parser.parse_args()
    with told():
        match arguments.command:
            case "up":
                up(arguments.source)
            case "prepare":
                prepare(arguments.source, arguments.scenario)
            case "status":
                status()
            case "down":
                down()


if __name__ == "__main__":
    main()
