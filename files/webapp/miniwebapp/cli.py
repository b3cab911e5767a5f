"""Commands of `flask --app wsgi`."""

from __future__ import annotations

import secrets

import click
import sqlalchemy as sa
from flask import Blueprint
from sqlalchemy.exc import SQLAlchemyError

from . import users
from .models import User, db

SAMPLES = (
    {"name": "Ada Lovelace", "email": "ada@example.com", "username": "ada"},
    {"name": "Grace Hopper", "email": "grace@example.com", "username": "grace"},
)

blueprint = Blueprint("cli", __name__, cli_group=None)


@blueprint.cli.command("seed")
def seed() -> None:
    """Add two sample users; those that exist are left alone."""
    try:
        for sample in SAMPLES:
            same = sa.or_(User.username == sample["username"], User.email == sample["email"])
            if not db.session.scalar(sa.select(sa.exists().where(same))):
                users.create(sample | {"password": secrets.token_urlsafe(32)})
                click.echo(f"Added {sample['username']}.")
    except SQLAlchemyError as error:
        raise click.ClickException(f"The database refused: {getattr(error, 'orig', error)}") from error
