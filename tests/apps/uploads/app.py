"""An application whose files outlive its versions: uploads in a volume, with workers of a queue on Redis."""

import os
import pathlib
import shutil

import click
from flask import Flask, request, send_from_directory
from redis import Redis
from rq import Queue

VERSION = "1"
UPLOADS = pathlib.Path(__file__).parent / "uploads"

app = Flask(__name__)
queue = Queue(connection=Redis.from_url(os.environ["RQ_REDIS_URL"]))


def count(name):
    """Write, beside an upload, how many words it has, and which version and secret the worker has."""
    words = len((UPLOADS / name).read_text().split())
    (UPLOADS / name).with_suffix(".words").write_text(f"{words} {VERSION} {len(os.environ['SECRET_KEY'])}")


@app.get("/")
def index():
    """The version."""
    return VERSION


@app.put("/<name>")
def upload(name):
    """Keep a file, which nginx may read, and have the words of a text counted."""
    with (UPLOADS / name).open("wb") as file:
        shutil.copyfileobj(request.stream, file)
    (UPLOADS / name).chmod(0o644)
    if name.endswith(".txt"):
        queue.enqueue(count, name)
    return "", 201


@app.get("/<name>")
def download(name):
    """A file."""
    return send_from_directory(UPLOADS, name, max_age=0)


@app.cli.command()
@click.argument("code", type=int)
def leave(code):
    """Print where it runs, and end with this code."""
    click.echo(f"{len(list(UPLOADS.glob('*.txt')))} texts, version {VERSION}")
    raise SystemExit(code)
