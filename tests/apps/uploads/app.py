"""An application whose files outlive its versions: uploads in a volume, in which a worker looks for what to do."""

import os
import pathlib
import time

import click
from flask import Flask, abort, request

VERSION = "1"
UPLOADS = pathlib.Path(__file__).parent / "uploads"

app = Flask(__name__)


@app.get("/")
def index():
    """The version."""
    return VERSION


@app.put("/<name>")
def upload(name):
    """Keep a file."""
    (UPLOADS / name).write_bytes(request.get_data())
    return "", 201


@app.get("/<name>")
def download(name):
    """A file."""
    path = UPLOADS / name
    return path.read_bytes() if path.is_file() else abort(404)


@app.cli.command()
def work():
    """Write, beside each upload, how many words it has, and which secret the worker has."""
    while True:
        for path in UPLOADS.glob("*.txt"):
            counted = path.with_suffix(".words")
            if not counted.exists():
                counted.write_text(f"{len(path.read_text().split())} {VERSION} {len(os.environ['SECRET_KEY'])}")
        time.sleep(0.2)


@app.cli.command()
@click.argument("code", type=int)
def leave(code):
    """Print where it runs, and end with this code."""
    click.echo(f"{len(list(UPLOADS.glob('*.txt')))} texts, version {VERSION}")
    raise SystemExit(code)
