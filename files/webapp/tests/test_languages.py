"""Pages are in English and Spanish, with every message translated. The API is in English."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from conftest import Person
from flask.testing import FlaskClient

PACKAGE = Path(__file__).parent.parent / "miniwebapp"
SPANISH = PACKAGE / "translations/es/LC_MESSAGES"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")
WHAT_TO_DO = "see Languages in README.md"


@pytest.fixture(scope="module")
def spanish() -> Catalog:
    with (SPANISH / "messages.po").open("rb") as file:
        return read_po(file, locale="es")


def texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def test_every_message_has_a_translation(spanish: Catalog) -> None:
    methods = [("**.py", "python"), ("templates/**.html", "jinja2")]
    keywords = {"_": None, "gettext": None, "lazy_gettext": None, "ngettext": (1, 2)}
    said = {found[2] for found in extract_from_dir(PACKAGE, methods, keywords=keywords)}
    assert said == {message.id for message in spanish if message.id}, WHAT_TO_DO
    for message in spanish:
        assert all(texts(message.string)) and not message.fuzzy, (message.id, WHAT_TO_DO)
        if message.id:
            expected = sorted(PLACEHOLDER.findall(texts(message.id)[-1]))
            assert all(sorted(PLACEHOLDER.findall(text)) == expected for text in texts(message.string)), message.id


def test_the_compiled_catalogue_is_the_written_one(spanish: Catalog) -> None:
    with (SPANISH / "messages.mo").open("rb") as file:
        compiled = sorted((texts(message.id), texts(message.string)) for message in read_mo(file) if message.id)
    written = sorted((texts(message.id), texts(message.string)) for message in spanish if message.id)
    assert compiled == written, WHAT_TO_DO


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("es", "es"), ("es-MX,en;q=0.5", "es"), ("en,es;q=0.9", "en"), ("fr", "en"), ("", "en"), ("\x80;;q=,", "en")],
)
def test_the_browser_chooses(client: FlaskClient, accepted: str, language: str) -> None:
    page = client.get("/", headers={"Accept-Language": accepted}).text
    assert f'<html lang="{language}">' in page
    assert f"<h1>{'Usuarios' if language == 'es' else 'Users'}</h1>" in page


def test_messages_in_spanish_on_pages_and_in_english_from_the_api(client: FlaskClient, ada: Person) -> None:
    spanish = {"Accept-Language": "es"}
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/add", headers=spanish).text)
    assert token
    page = client.post("/add", data={"csrf_token": token[1], "email": "x"}, headers=spanish).text
    assert 'id="name-error">Falta nombre' in page
    assert 'id="email-error">correo electrónico debe ser una dirección' in page
    answer = client.post("/api/users", json={"email": "x"}, headers=spanish).json["message"]
    assert "name is missing" in answer
    assert "No encontrado" in client.get("/nothing", headers=spanish).text
    client.post("/add", data=ada | {"csrf_token": token[1]}, headers=spanish)
    page = client.get("/", headers=spanish).text
    assert "Se ha añadido el usuario ada." in page
    assert "1 usuario" in page
