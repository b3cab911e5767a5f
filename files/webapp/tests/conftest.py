"""The application on a migrated database: SQLite always, and the one in TEST_DATABASE_URL, whose users it deletes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from miniwebapp import create_app
from miniwebapp.models import User, db

DATABASES = ["sqlite"] + (["server"] if "TEST_DATABASE_URL" in os.environ else [])


def make_app(url: str, **settings: object) -> Flask:
    return create_app({"SECRET_KEY": "for tests only", "SQLALCHEMY_DATABASE_URI": url, **settings})


@pytest.fixture(scope="session", params=DATABASES)
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    if request.param == "server":
        url = os.environ["TEST_DATABASE_URL"]
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('db') / 'test.db'}"
    app = make_app(url)
    with app.app_context():
        flask_migrate.upgrade()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def app(migrated: Flask) -> Flask:
    with migrated.app_context():
        db.session.execute(sa.delete(User))
        db.session.commit()
    return migrated


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return https(app)


@pytest.fixture
def away(tmp_path: Path) -> FlaskClient:
    """A client of an application whose database cannot be reached."""
    return https(make_app(f"sqlite:///{tmp_path / 'missing' / 'test.db'}"))


def https(app: Flask) -> FlaskClient:
    """A client as the proxy presents it: the user speaks HTTPS."""
    client = app.test_client()
    client.environ_base |= {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_REFERER": "https://localhost/"}
    return client


@pytest.fixture
def ada() -> dict[str, str]:
    return {"name": "Ada Lovelace", "email": "ada@example.com", "username": "ada", "password": "correct horse"}
