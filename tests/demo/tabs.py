"""Tabs of the demo: what a visitor does there, and what the page then shows."""

from __future__ import annotations

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.demo.site import Site

PATIENCE_MS = 30_000
"""How long a page may take to show something: far more than it needs."""

expect.set_options(timeout=PATIENCE_MS)


def open_tab(browser: Browser, site: Site, **options: object) -> Page:
    """A tab of a new visitor, who has no cookies yet."""
    context: BrowserContext = browser.new_context(base_url=site.url, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    return context.new_page()


def enter(page: Page, name: str, room: str = "harbour") -> None:
    """Go to a room, under a name, and wait until the socket is open."""
    page.goto(f"/chat/{room}/")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Go in").click()
    expect(page.locator("#people")).to_contain_text(name)


def say(page: Page, text: str) -> None:
    """Say something in a room."""
    page.get_by_label("Your message").fill(text)
    page.get_by_role("button", name="Send").click()


def sees(page: Page, text: str) -> None:
    """Wait until a line with C{text}, and no more than one, is shown."""
    line = page.locator("#lines .text").get_by_text(text, exact=True)
    expect(line).to_have_count(1)
