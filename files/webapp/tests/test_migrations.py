"""The schema: matches the models, downgrades, migrates on two servers at once, works with the previous code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import IntegrityError

from miniwebapp.models import User, db

ROOT = Path(__file__).parent.parent
UPGRADE = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]


@pytest.fixture
def emptied(app: Flask) -> Flask:
    with app.app_context():
        flask_migrate.downgrade(revision="base")
    return app


def start_upgrade() -> subprocess.Popen[str]:
    environ = os.environ | {"SECRET_KEY": "0123456789abcdef", "DATABASE_URL": os.environ["TEST_DATABASE_URL"]}
    return subprocess.Popen(UPGRADE, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)


def test_migrations_make_what_the_models_say(emptied: Flask) -> None:
    with emptied.app_context():
        flask_migrate.upgrade()
        flask_migrate.check()
        flask_migrate.downgrade(revision="base")
        assert sa.inspect(db.engine).get_table_names() == ["alembic_version"]
        flask_migrate.upgrade()
        flask_migrate.check()


def test_servers_that_start_at_once_migrate_one_after_the_other(emptied: Flask) -> None:
    started = [start_upgrade() for _server in range(3)]
    said = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    with emptied.app_context():
        flask_migrate.check()


def test_a_migration_waits_for_the_one_that_runs(emptied: Flask) -> None:
    lock = sa.text("SELECT GET_LOCK(CONCAT('alembic:', SHA2(DATABASE(), 224)), 0)")
    with emptied.app_context(), db.engine.connect() as connection:
        assert connection.scalar(lock) == 1
        waiting = start_upgrade()
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=3)
        assert sa.inspect(db.engine).get_table_names() == ["alembic_version"]
        connection.execute(sa.text("DO RELEASE_ALL_LOCKS()"))
        assert waiting.wait(timeout=30) == 0
        waiting.communicate()


def test_the_former_version_works_on_this_schema(app: Flask) -> None:
    """The previous version's statements, as it uses the new schema during a deployment and after a rollback."""
    insert = "INSERT INTO users (name, email, username, password_hash) VALUES (:name, :email, :username, 'scrypt:…')"
    ada = {"name": "Ada", "email": "ada@example.com", "username": "ada"}
    with app.app_context(), db.engine.begin() as connection:
        user_id = connection.execute(sa.text(insert), ada).lastrowid
        select = (
            "SELECT users.id, users.name, users.email, users.username, users.password_hash FROM users ORDER BY users.id"
        )
        rows = connection.execute(sa.text(select)).all()
        assert rows == [(user_id, "Ada", "ada@example.com", "ada", "scrypt:…")]
        changed = {"id": user_id, "name": "Countess"}
        assert connection.execute(sa.text("UPDATE users SET name=:name WHERE users.id = :id"), changed).rowcount == 1
        for same in ({"email": "ADA@example.com", "username": "b"}, {"email": "b@example.com", "username": "aDa"}):
            with pytest.raises(IntegrityError):
                connection.execute(sa.text(insert), ada | same)
        assert connection.scalar(sa.select(User.role)) == "viewer"
        token = "INSERT INTO api_tokens (user_id, name, digest, created_at) VALUES (:id, 'a', 'a', NOW())"
        connection.execute(sa.text(token), {"id": user_id})
        assert connection.execute(sa.text("DELETE FROM users WHERE users.id = :id"), {"id": user_id}).rowcount == 1
        assert connection.scalar(sa.text("SELECT COUNT(*) FROM api_tokens")) == 0


def test_text_of_every_language_fits(app: Flask) -> None:
    with app.app_context():
        tables = sa.text(
            "SELECT DISTINCT character_set_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name <> 'alembic_version' AND character_set_name IS NOT NULL"
        )
        assert db.session.scalars(tables).all() == ["utf8mb4"]


def test_a_database_of_its_own_for_the_lock(app: Flask) -> None:
    """Migrations of other databases on the same server do not block each other."""
    with app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT GET_LOCK(CONCAT('alembic:', SHA2(UUID(), 224)), 0)")) == 1
        flask_migrate.upgrade()
        connection.execute(sa.text("DO RELEASE_ALL_LOCKS()"))
