"""Takes the screenshots in docs/screenshots from the running sandbox: each page, light and dark, desktop and phone."""

from __future__ import annotations

from playwright.sync_api import Page, sync_playwright
from sandbox.paths import ROOT, SECRETS
from sandbox.server import address
from sandbox.shell import install, told

TARGET = ROOT / "docs" / "screenshots"
SIZES = {"desktop": {"width": 1100, "height": 720}, "phone": {"width": 390, "height": 844}}
# The console refreshes every 30 seconds, and a new server has no rates before its second scrape.
PATIENCE_MS = 90_000


def take(page: Page, at: str, suffix: str) -> None:
    """Take every page as the administrator sees it."""

    def shoot(name: str) -> None:
        page.screenshot(path=TARGET / f"{name}-{suffix}.png")

    page.goto(f"https://{at}/login")
    shoot("login")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill((SECRETS / "app_admin_password").read_text().strip())
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"https://{at}/")
    shoot("users")
    page.get_by_role("link", name="Delete ada").click()
    shoot("delete")
    page.goto(f"https://{at}/account")
    shoot("account")
    page.goto(f"https://{at}/add")
    page.get_by_label("Name", exact=True).fill("Mary Somerville")
    page.get_by_label("E-mail").fill("mary@example.com")
    page.get_by_label("Username").fill("mary")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Add user").click()
    shoot("add")


def take_console(page: Page, at: str, scheme: str) -> None:
    """Take Prometheus's console as soon as its graphs have data."""
    page.goto(f"https://{at}:9090/consoles/overview.html")
    for graph in ("cpu", "memory", "disk"):
        page.locator(f"#{graph} path.line").first.wait_for(state="attached", timeout=PATIENCE_MS)
    page.screenshot(path=TARGET / f"console-{scheme}.png", full_page=True)


def main() -> None:
    at = address()
    TARGET.mkdir(exist_ok=True)
    with told():
        install({"chromium": "chromium fonts-dejavu-core"})
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            for size, viewport in SIZES.items():
                for scheme in ("light", "dark"):
                    context = browser.new_context(
                        viewport=viewport,  # type: ignore[arg-type]
                        color_scheme=scheme,  # type: ignore[arg-type]
                        ignore_https_errors=True,
                        locale="en",
                    )
                    take(context.new_page(), at, f"{scheme}-{size}")
                    if size == "desktop":
                        take_console(context.new_page(), at, scheme)
                    context.close()
            browser.close()
    print(f"{len(list(TARGET.glob('*.png')))} screenshots are in {TARGET.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
