"""An application with a fast page, which only computes, and a slow one, which waits as for another server."""

import time

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def fast():
    """A list of a hundred entries."""
    return jsonify([{"id": number, "name": f"Person {number}"} for number in range(100)])


@app.get("/slow")
def slow():
    """What another server would have said after a fifth of a second."""
    time.sleep(0.2)
    return jsonify(done=True)
