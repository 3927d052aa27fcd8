"""The demo's other pages in a browser: the bell, the upload, and all of them at once."""

from __future__ import annotations

import hashlib
import random
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.demo.site import Site
from tests.demo.tabs import enter, open_tab

pytestmark = pytest.mark.browser

UPLOAD_BYTES = 20 * 1024 * 1024


def test_one_tab_rings_and_the_other_hears_it(browser: Browser, site: Site) -> None:
    ringer, listener = open_tab(browser, site), open_tab(browser, site)
    ringer.goto("/bell/")
    listener.goto("/bell/")
    expect(listener.locator("#polls .waiting")).to_have_count(1)
    for count in ("1", "2", "3"):
        ringer.get_by_role("button", name="Ring it").click()
        expect(listener.locator("#count")).to_have_text(count)
        expect(ringer.locator("#count")).to_have_text(count)
    expect(listener.locator("#polls .rang")).to_have_count(3)
    expect(listener.locator("#polls .waiting")).to_have_count(1)


def test_an_upload_of_20_mb_arrives_whole(browser: Browser, site: Site, tmp_path: Path) -> None:
    content = random.Random(20).randbytes(UPLOAD_BYTES)
    file = tmp_path / "large.bin"
    file.write_bytes(content)
    page = open_tab(browser, site)
    page.goto("/upload/")
    page.locator("#file").set_input_files(file)

    page.get_by_role("button", name="Send it").click()

    expect(page.locator("#percent")).to_have_text("100 %")
    expect(page.locator("#arrived-sha256")).to_have_text(hashlib.sha256(content).hexdigest())
    assert int(page.locator("#bar").get_attribute("value") or 0) == 100
    size = page.locator("#arrived-size").inner_text()
    assert "".join(filter(str.isdigit, size)) == str(UPLOAD_BYTES)
    expect(page.locator("#compared")).to_contain_text("the same as here")


def test_no_page_complains_in_the_console(browser: Browser, site: Site) -> None:
    page = open_tab(browser, site)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for path in ("/", "/chat/", "/bell/", "/upload/"):
        page.goto(path)
        expect(page.locator("#pulse[data-state=open]")).to_contain_text("answered by process")
    enter(page, "Ada")
    assert complaints == []


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_window(browser: Browser, site: Site, width: int) -> None:
    page = open_tab(browser, site, viewport={"width": width, "height": 800})
    enter(page, "Ada")
    for path in ("/", "/chat/", "/chat/harbour/", "/bell/", "/upload/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize(
    ("path", "types"),
    [
        ("css/site.css", {"text/css"}),
        ("js/room.js", {"text/javascript", "application/javascript"}),
        ("icon.svg", {"image/svg+xml"}),
        ("admin/css/base.css", {"text/css"}),
    ],
)
def test_static_files_have_their_types(site: Site, path: str, types: set[str]) -> None:
    with urllib.request.urlopen(f"{site.url}/static/{path}") as response:
        assert response.headers.get_content_type() in types
        assert response.read()
