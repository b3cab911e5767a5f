"""The application as people see it: in a real browser, through TLS and nginx."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.server import ADDRESS, SERVER
from helpers.web import brightness
from playwright.sync_api import Browser, Page, expect

URL = f"https://{ADDRESS}"
PASSWORD = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent.parent / "secrets" / SERVER / "app_admin_password"
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new visitor. Anything the page's security policy blocks, and any error in its scripts, fails the test."""
    context = browser.new_context(base_url=URL, ignore_https_errors=True, locale="en")
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else None)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def admin(page: Page) -> Page:
    log_in(page, "admin", PASSWORD.read_text().strip())
    expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
    return page


def log_in(page: Page, username: str, password: str) -> None:
    page.goto("/login")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def fill(page: Page, **values: str) -> None:
    for label, value in values.items():
        page.get_by_label(label.replace("_", "-"), exact=True).fill(value)


def test_a_visitor_reaches_the_requested_page_after_the_login_and_logs_out(page: Page) -> None:
    page.goto("/?search=ada")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD.read_text().strip())
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="Ada Lovelace")).to_be_visible()
    expect(page.get_by_role("row", name="Grace Hopper")).to_have_count(0)
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login"))
    page.goto("/")
    expect(page).to_have_url(re.compile("/login"))


def test_a_wrong_password_is_reported_and_lets_nobody_in(page: Page) -> None:
    log_in(page, "ada", "a wrong password")
    expect(page.get_by_role("alert")).to_have_text("The username or the password is wrong")
    page.goto("/")
    expect(page).to_have_url(re.compile("/login"))


def test_a_user_is_added_found_changed_and_deleted(admin: Page) -> None:
    admin.get_by_role("link", name="Add a user").click()
    fill(admin, Name="Mary Somerville", E_mail="mary@example.com", Username="mary", Password="too short")
    admin.get_by_role("button", name="Add user").click()
    expect(admin.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    expect(admin.get_by_label("Password")).to_be_focused()
    expect(admin.get_by_text("at least 10 are needed")).to_be_visible()
    expect(admin.get_by_label("Name", exact=True)).to_have_value("Mary Somerville")
    fill(admin, Password="a password for Mary")
    admin.get_by_role("button", name="Add user").click()
    expect(admin.get_by_role("status")).to_contain_text("User mary was added.")

    admin.get_by_role("searchbox").fill("MARY@")
    admin.get_by_role("button", name="Search").click()
    row = admin.get_by_role("row", name="Mary Somerville")
    row.get_by_role("link", name="Edit mary").click()
    fill(admin, Name="Mary Fairfax Somerville")
    admin.get_by_role("button", name="Save changes").click()
    expect(admin.get_by_role("row", name="Mary Fairfax Somerville")).to_be_visible()

    admin.get_by_role("link", name="Delete mary").click()
    admin.get_by_role("link", name="Cancel").click()
    expect(admin.get_by_role("row", name="Mary Fairfax Somerville")).to_be_visible()
    admin.get_by_role("link", name="Delete mary").click()
    admin.get_by_role("button", name="Delete user").click()
    expect(admin.get_by_role("row", name="Mary Fairfax Somerville")).to_have_count(0)


def test_an_expired_session_asks_for_the_login_again(admin: Page) -> None:
    admin.context.clear_cookies()
    admin.get_by_role("link", name="Add a user").click()
    expect(admin).to_have_url(re.compile(r"/login\?next=/add"))


def test_the_list_is_sorted_in_both_directions(admin: Page) -> None:
    admin.goto("/?sort=username")
    first = admin.get_by_role("row").nth(1)
    expect(first).to_contain_text("ada")
    admin.get_by_role("link", name="Username").click()
    expect(admin.get_by_role("columnheader", name="Username")).to_have_attribute("aria-sort", "descending")
    expect(admin.get_by_role("row").last).to_contain_text("ada")


def test_it_speaks_the_browsers_language(browser: Browser) -> None:
    context = browser.new_context(base_url=URL, ignore_https_errors=True, locale="es-MX")
    page = context.new_page()
    page.goto("/login")
    expect(page.get_by_role("button", name="Iniciar sesión")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "es")
    context.close()


def test_it_works_by_keyboard_alone(page: Page) -> None:
    page.goto("/login")
    # A browser moves the focus when it first paints, which may be after the page has loaded.
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("admin")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD.read_text().strip())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


@pytest.mark.parametrize("path", ["/", "/add", "/account"])
def test_nothing_is_wider_than_a_phone(admin: Page, path: str) -> None:
    admin.set_viewport_size(PHONE)  # type: ignore[arg-type]
    admin.goto(path)
    assert admin.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_dark_mode_is_dark(admin: Page) -> None:
    assert brightness(admin, "dark") < 150
    assert brightness(admin, "light") > 600
