"""The plainest application that people bring: notes in a database, which it finds by DATABASE_URL."""

import os

from flask import Flask, jsonify, request, session
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
db = SQLAlchemy(app)


class Note(db.Model):
    """A note."""

    id = db.Column(db.Integer, primary_key=True)
    text = db.Column(db.String(200), nullable=False)


with app.app_context():
    db.create_all()


@app.get("/")
def index():
    """All notes, and how often this visitor has come."""
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(notes=[note.text for note in db.session.scalars(db.select(Note))], visits=session["visits"])


@app.post("/")
def add():
    """Add a note."""
    db.session.add(Note(text=request.get_data(as_text=True)))
    db.session.commit()
    return "", 201
