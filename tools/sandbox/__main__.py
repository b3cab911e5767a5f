"""The command line of the sandbox."""

from __future__ import annotations

import argparse
import os

import sandbox
from sandbox.commands import down, status, up
from sandbox.engine import remove_container
from sandbox.images import SOURCES
from sandbox.scenario import prepare
from sandbox.server import start_new
from sandbox.shell import told


def main() -> None:
    parser = argparse.ArgumentParser(prog="sandbox", description=sandbox.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start the sandbox server and deploy to it"),
        ("prepare", "prepare what a molecule scenario needs"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--source", choices=SOURCES, default=os.environ.get("MINIWEB_IMAGES", "auto"))
    command.add_argument("--scenario", required=True, help="the molecule scenario to prepare for")
    command = commands.add_parser("start", help="start a new server for a molecule scenario")
    for name in ("name", "address", "image"):
        command.add_argument(name)
    command = commands.add_parser("remove", help="remove a server and its data")
    command.add_argument("name")
    commands.add_parser("status", help="show what is running")
    commands.add_parser("down", help="remove every trace of the sandbox")
    arguments = parser.parse_args()
    with told():
        match arguments.command:
            case "up":
                up(arguments.source)
            case "prepare":
                prepare(arguments.source, arguments.scenario)
            case "start":
                start_new(arguments.name, arguments.address, arguments.image)
            case "remove":
                remove_container(arguments.name)
            case "status":
                status()
            case "down":
                down()


if __name__ == "__main__":
    main()
