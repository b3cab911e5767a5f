"""The application on a MySQL whose disk, a small one, the test fills. Not part of the other tests, which need the disk."""

from __future__ import annotations

import contextlib
import time

import sqlalchemy as sa
from conftest import Person
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from miniwebapp.models import db

FILL_SECONDS = 120


def test_what_cannot_be_stored_is_refused_and_reading_goes_on(app: Flask, client: FlaskClient, ada: Person) -> None:
    assert client.post("/api/users", json=ada).status_code == 201
    with app.app_context():
        db.session.execute(sa.text("CREATE TABLE filler (filling LONGBLOB)"))
        deadline = time.monotonic() + FILL_SECONDS
        # The last pages, with ever smaller rows
        for size in (8_000_000, 1_000_000, 50_000):
            with contextlib.suppress(OperationalError):
                while time.monotonic() < deadline:
                    # Without room for its binary log, MySQL waits instead of refusing.
                    db.session.execute(sa.text("INSERT INTO filler VALUES (REPEAT('x', :size))"), {"size": size})
                    db.session.commit()
            db.session.rollback()
    acknowledged = {"ada"}
    answers = []
    for number in range(1000):
        user = ada | {"username": f"user{number}", "email": f"user{number}@example.com"}
        response = client.post("/api/users", json=user)
        answers.append(response.status_code)
        if response.status_code != 201:
            break
        acknowledged.add(user["username"])
    assert answers[-1] == 507, answers
    assert "no room left in the database" in response.json["message"]
    # Without an answer, a change may have been stored.
    found = {user["username"] for user in client.get("/api/users").json}
    assert acknowledged <= found
