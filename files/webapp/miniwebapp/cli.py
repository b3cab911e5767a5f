"""Commands of `flask --app wsgi`."""

from __future__ import annotations

import os
import secrets

import click
import sqlalchemy as sa
from flask import Blueprint
from sqlalchemy.exc import SQLAlchemyError

from . import account, config, users
from .models import ADMIN, User, db

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


@blueprint.cli.command("create-admin")
@click.option("--username", default="admin", show_default=True)
@click.option("--email", required=True)
@click.option("--name", default="Administrator", show_default=True)
def create_admin(username: str, email: str, name: str) -> None:
    """Make the first administrator, with the password in ADMIN_PASSWORD; one that exists is left alone."""
    try:
        if db.session.scalar(sa.select(sa.exists().where(User.username == username))):
            return
        given = {"name": name, "email": email, "username": username, "password": config.admin_password(os.environ)}
        users.create(users.validate(given) | {"role": ADMIN})
    except (config.ConfigurationError, users.UserError) as error:
        raise click.ClickException(getattr(error, "description", None) or str(error)) from error
    except SQLAlchemyError as error:
        raise click.ClickException(f"The database refused: {getattr(error, 'orig', error)}") from error
    click.echo(f"Added the administrator {username}.")


@blueprint.cli.command("set-password")
@click.argument("username")
@click.password_option()
def set_password(username: str, password: str) -> None:
    """Give a user another password, for who has forgotten it."""
    try:
        user = _user(username)
        users.update(user.id, users.validate({"password": password}, required=(), user=user))
    except users.UserError as error:
        raise click.ClickException(error.description or "") from error


@blueprint.cli.command("create-token")
@click.argument("username")
@click.option("--name", required=True, help="what the token is for")
def create_token(username: str, name: str) -> None:
    """Make a token for a program that logs in as this user, and print it."""
    try:
        click.echo(account.new_token(_user(username), name))
    except users.UserError as error:
        raise click.ClickException(error.description or "") from error


def _user(username: str) -> User:
    user = db.session.scalar(sa.select(User).where(User.username == username))
    if not user:
        raise click.ClickException(f'There is no user "{username}".')
    return user
