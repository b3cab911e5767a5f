"""An application whose files outlive its versions: uploads in a volume, with workers of a queue on Redis."""

import os
import pathlib

import click
from flask import Flask, abort, request
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
    """Keep a file, and have its words counted."""
    (UPLOADS / name).write_bytes(request.get_data())
    queue.enqueue(count, name)
    return "", 201


@app.get("/<name>")
def download(name):
    """A file."""
    path = UPLOADS / name
    return path.read_bytes() if path.is_file() else abort(404)


@app.cli.command()
@click.argument("code", type=int)
def leave(code):
    """Print where it runs, and end with this code."""
    click.echo(f"{len(list(UPLOADS.glob('*.txt')))} texts, version {VERSION}")
    raise SystemExit(code)
