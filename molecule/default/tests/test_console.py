"""Prometheus's own page, for servers without Grafana, as a real browser shows it through TLS and nginx."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from helpers.server import ADDRESS, SERVER
from helpers.waiting import PATIENCE_SECONDS
from helpers.web import brightness
from playwright.sync_api import Browser, Page, expect

PATH = "/consoles/overview.html"
GRAPHS = {"cpu": "CPU", "memory": "Memory", "disk": "Disk"}
PERCENT = re.compile(r"^\d{1,3}\.\d %$")
PHONE = {"width": 390, "height": 844}
# The page refreshes every 30 seconds.
PATIENCE_MS = PATIENCE_SECONDS * 1000


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """The page with its graphs. Any error that its script or the browser reports fails the test."""
    context = browser.new_context(
        base_url=f"https://{ADDRESS}:9090", ignore_https_errors=True, locale="en", has_touch=True
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(PATH)
    expect_graphs(page)
    yield page
    context.close()
    assert complaints == []


def expect_graphs(page: Page, points: str = "") -> None:
    for graph in GRAPHS:
        # A flat line has no height, so it does not count as visible.
        line = page.locator(f"#{graph} path.line").first
        expect(line).to_have_attribute("d", re.compile(rf"^M[\d.]+,[\d.]+{points}"), timeout=PATIENCE_MS)
        expect(page.locator(f"#{graph} svg")).to_be_visible()


def test_three_graphs_have_lines_and_show_their_values(page: Page) -> None:
    expect(page.get_by_label("Server")).to_have_value(SERVER)
    expect_graphs(page, points="L")
    for graph, title in GRAPHS.items():
        expect(page.get_by_role("img", name=re.compile(rf"^{title} now: .*\d\.\d %"))).to_be_visible()
        expect(page.locator(f"#{graph} li b").first).to_have_text(PERCENT)
    expect(page.locator("#disk li").filter(has_text=re.compile(r"^/\d"))).to_have_count(1)
    assert "Disk /" in page.get_by_role("table", name="Values now").inner_text()


def test_the_current_numbers_are_shown(page: Page) -> None:
    for graph in GRAPHS:
        expect(page.locator(f"#{graph}-now")).to_have_text(PERCENT, timeout=PATIENCE_MS)
    expect(page.locator("#targets-down")).to_have_text("0", timeout=PATIENCE_MS)
    expect(page.locator("#alerts-firing")).to_have_text(re.compile(r"^\d+$"))


def test_another_range_is_queried_and_kept(page: Page) -> None:
    for label, value, step in (("24 h", "24h", 360), ("7 d", "7d", 2520), ("6 h", "6h", 90)):
        with page.expect_response(re.compile(rf"/api/v1/query_range\?.*step={step}(&|$)")) as answer:
            page.get_by_text(label, exact=True).click()
        assert answer.value.ok
        expect(page).to_have_url(re.compile(rf"\?instance={SERVER}&range={value}$"))
        expect_graphs(page)
    page.reload()
    expect(page.get_by_label("6 h")).to_be_checked()
    expect_graphs(page)


@pytest.mark.parametrize("pointer", ["mouse", "finger"])
def test_a_point_shows_its_time_and_value(page: Page, pointer: str) -> None:
    plot, tooltip = page.locator("#memory svg"), page.locator("#memory .tooltip")
    expect(tooltip).to_be_hidden()
    box = plot.bounding_box()
    assert box
    # The right edge is now.
    at = {"x": box["width"] - 9, "y": box["height"] / 2}
    if pointer == "mouse":
        plot.hover(position=at)  # type: ignore[arg-type]
    else:
        plot.tap(position=at)  # type: ignore[arg-type]
    expect(tooltip).to_have_text(re.compile(r"\d\d:\d\d.*Memory\d+\.\d %$"))
    page.get_by_role("heading", name="Overview").click()
    expect(tooltip).to_be_hidden()


def test_it_leads_to_prometheuss_own_pages_where_there_are_some(page: Page) -> None:
    links = page.get_by_role("navigation").get_by_role("link").all()
    addresses = [link.evaluate("link => link.href") for link in links]
    assert all(page.request.get(address).ok for address in addresses), addresses
    # Debian's package of Prometheus 3 answers with a notice that it has no web UI.
    assert bool(links) != ("does not include the modern React web UI" in page.request.get("/alerts").text())


def test_an_error_from_prometheus_is_shown(browser: Browser) -> None:
    context = browser.new_context(base_url=f"https://{ADDRESS}:9090", ignore_https_errors=True, locale="en")
    page = context.new_page()
    page.route(
        re.compile("query_range.*MemAvailable"), lambda route: route.continue_(url=f"{route.request.url}&timeout=x")
    )
    page.goto(PATH)
    expect(page.locator("#memory .failure")).to_contain_text("duration")
    expect(page.locator("#memory svg")).to_be_hidden()
    context.close()


def test_it_is_not_wider_than_a_phone(page: Page) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect_graphs(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_dark_mode_is_dark(page: Page) -> None:
    assert brightness(page, "dark") < 150
    assert brightness(page, "light") > 600
