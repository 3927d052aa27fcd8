"""Two tabs in a room of the demo, and what becomes of them when the server goes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.demo.site import Site
from tests.demo.tabs import enter, open_tab, say, sees

pytestmark = pytest.mark.browser


def test_two_tabs_chat_with_each_other(browser: Browser, site: Site) -> None:
    ada, grace = open_tab(browser, site), open_tab(browser, site)
    enter(ada, "Ada")
    enter(grace, "Grace")
    expect(ada.locator("#people .name")).to_have_text(["Ada", "Grace"])
    expect(ada.locator("#lines .note")).to_have_text("Grace came in")

    say(ada, "Hello, is anybody there?")
    sees(grace, "Hello, is anybody there?")
    sees(ada, "Hello, is anybody there?")
    say(grace, "I am!")
    sees(ada, "I am!")
    expect(ada.locator("#unsent li")).to_have_count(0)
    expect(ada.locator("#lines .line:not(.mine) .who")).to_have_text("Grace")


def test_a_reloaded_page_shows_what_was_said_before(browser: Browser, site: Site) -> None:
    page = open_tab(browser, site)
    enter(page, "Ada")
    say(page, "first")
    sees(page, "first")
    say(page, "second")
    sees(page, "second")

    page.reload()

    expect(page.locator("#lines .text")).to_have_text(["first", "second"])


def test_older_lines_come_when_they_are_asked_for(browser: Browser, site: Site) -> None:
    site.manage(
        "shell",
        "--command",
        "from uuid import uuid4; from chat.models import Line, Room;"
        "room = Room.objects.get(slug='harbour');"
        "Line.objects.bulk_create(Line(room=room, author='a1b2c3d4e5f6', name='Old Tom',"
        " text=f'line {n}', ref=uuid4()) for n in range(70))",
    )
    page = open_tab(browser, site)
    enter(page, "Ada")
    texts = page.locator("#lines .text")
    expect(texts).to_have_text([f"line {n}" for n in range(20, 70)])

    page.get_by_role("button", name="Load earlier messages").click()

    expect(texts).to_have_text([f"line {n}" for n in range(70)])
    expect(page.locator("#earlier")).to_be_hidden()


def test_html_in_a_message_or_a_name_is_shown_as_text(browser: Browser, site: Site) -> None:
    ada, grace = open_tab(browser, site), open_tab(browser, site)
    enter(ada, "<b>Ada</b>")
    enter(grace, "Grace")
    injected = "<img src=x onerror=\"document.title='broken'\"><script>alert(1)</script>"

    say(ada, injected)

    sees(grace, injected)
    expect(grace.locator("#lines img, #lines script, #lines .who b")).to_have_count(0)
    expect(grace.locator("#lines .who")).to_have_text("<b>Ada</b>")
    assert "broken" not in grace.title()


def test_who_is_where_shows_in_the_lobby_as_it_changes(browser: Browser, site: Site) -> None:
    watcher, ada = open_tab(browser, site), open_tab(browser, site)
    watcher.goto("/chat/")
    here = watcher.locator('[data-slug="tea-kitchen"] .count b')
    expect(here).to_have_text("0")
    enter(ada, "Ada", room="tea-kitchen")
    expect(here).to_have_text("1")
    ada.close()
    expect(here).to_have_text("0")


def test_a_tab_that_loses_its_server_comes_back(browser: Browser, site: Site) -> None:
    ada, grace, gone = (open_tab(browser, site) for _ in range(3))
    enter(ada, "Ada")
    enter(grace, "Grace")
    enter(gone, "Tom")
    say(ada, "before")
    sees(grace, "before")

    site.kill()
    expect(ada.locator("#banner")).to_contain_text("Reconnecting…")
    expect(grace.locator("#banner")).to_contain_text("Reconnecting…")
    gone.close()
    say(ada, "meanwhile")
    expect(ada.locator("#unsent .text")).to_have_text("meanwhile")
    site.start()

    sees(ada, "meanwhile")
    sees(grace, "meanwhile")
    expect(ada.locator("#unsent li")).to_have_count(0)
    say(grace, "after")
    sees(ada, "after")
    expect(ada.locator("#lines .text")).to_have_text(["before", "meanwhile", "after"])
    # Nobody told the server that Tom had gone: it had gone itself.
    expect(ada.locator("#people .name")).to_have_text(["Ada", "Grace"])


def test_a_tab_says_that_it_is_back(browser: Browser, site: Site) -> None:
    page = open_tab(browser, site)
    enter(page, "Ada")
    site.kill()
    expect(page.locator("#banner")).to_contain_text("Reconnecting…")
    site.start()
    expect(page.locator("#banner")).to_contain_text("You are back.")
    expect(page.locator("#banner")).to_be_hidden()
