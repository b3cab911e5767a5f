"""Commands of `flask --app wsgi`."""

from __future__ import annotations

import os
import secrets

import click
import sqlalchemy as sa
from flask import Blueprint
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from . import account, config, users
from .models import ADMIN, User, db

SAMPLES = (
    {"name": "Ada Lovelace", "email": "ada@example.com", "username": "ada"},
    {"name": "Grace Hopper", "email": "grace@example.com", "username": "grace"},
)

blueprint = Blueprint("cli", __name__, cli_group=None)


@blueprint.cli.command("seed")
def seed() -> None:
    """Add two sample users; existing ones are not changed."""
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
@click.option("--email", envvar="ADMIN_EMAIL", default="admin@localhost", show_default=True)
@click.option("--name", default="Administrator", show_default=True)
def create_admin(username: str, email: str, name: str) -> None:
    """Create the first administrator, with the password in ADMIN_PASSWORD; an existing one is not changed."""
    try:
        role = db.session.scalar(sa.select(User.role).where(User.username == username))
        if role == ADMIN:
            return
        if role and db.session.scalar(sa.select(sa.exists().where(User.role == ADMIN))):
            click.echo(f"{username} is no administrator and stays so, as there are others.")
            return
        given = {"name": name, "email": email, "username": username, "password": config.admin_password(os.environ)}
        values = users.validate(given) | {"role": ADMIN}
        if role:  # created by an unknown person before logins existed: do not keep the password
            users.update(_user(username).id, {key: values[key] for key in ("role", "password")})
        else:
            users.create(values)
    except (config.ConfigurationError, users.UserError) as error:
        raise click.ClickException(getattr(error, "description", None) or str(error)) from error
    except SQLAlchemyError as error:
        raise click.ClickException(f"The database refused: {getattr(error, 'orig', error)}") from error
    click.echo(f"Made {username} the administrator." if role else f"Added the administrator {username}.")


@blueprint.cli.command("setup")
@click.pass_context
def setup(context: click.Context) -> None:
    """Create the first administrator and, with SAMPLE_USERS=true, two sample users; for each new version."""
    try:
        commands = [create_admin, *([seed] if config.sample_users(os.environ) else [])]
    except config.ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    for command in commands:
        with command.make_context(command.name, [], parent=context) as inner:
            command.invoke(inner)


@blueprint.cli.command("set-password")
@click.argument("username")
@click.password_option()
def set_password(username: str, password: str) -> None:
    """Set a new password for a user who has forgotten theirs; their sessions and tokens end."""
    try:
        user = _user(username)
        users.update(user.id, users.validate({"password": password}, required=(), user=user))
    except HTTPException as error:
        raise click.ClickException(str(error.description)) from error


@blueprint.cli.group("token")
def token() -> None:
    """Tokens for programs: create, list, revoke."""


@token.command("create")
@click.argument("username")
@click.option("--name", required=True, help="what the token is for")
def create_token(username: str, name: str) -> None:
    """Create a token for a program that logs in as this user, and print it."""
    try:
        click.echo(account.new_token(_user(username).id, name))
    except HTTPException as error:
        raise click.ClickException(str(error.description)) from error


blueprint.cli.add_command(create_token, "create-token")


@token.command("list")
@click.argument("username")
def list_tokens(username: str) -> None:
    """List a user's tokens: number, date and name."""
    for entry in account.tokens_of(_user(username).id):
        click.echo(f"{entry.id}\t{entry.created_at:%Y-%m-%d}\t{entry.name}")


@token.command("revoke")
@click.argument("username")
@click.argument("number", type=click.IntRange(1, 2**31 - 1))
def revoke_token(username: str, number: int) -> None:
    """Revoke one of a user's tokens by its number in the list."""
    if not account.revoke(_user(username).id, number):
        raise click.ClickException(f"{username} has no token {number}; see: flask token list {username}")


def _user(username: str) -> User:
    user = db.session.scalar(sa.select(User).where(User.username == username))
    if not user:
        raise click.ClickException(f'There is no user "{username}".')
    return user
