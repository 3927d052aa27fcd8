"""
Make the picture in the README anew: C{python -m tests.demo.picture}.

Two visitors talk in a room of the demo, one by day and one by night.
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.demo.conftest import FLAGS, chromium_path
from tests.demo.site import Site
from tests.demo.tabs import enter, open_tab, say, sees

PICTURE = Path(__file__).resolve().parent.parent.parent / "docs" / "images" / "demo.png"
WINDOW = {"width": 860, "height": 640}

TALK = [
    ("Ada", "Good morning! I have just restarted the server."),
    ("Grace", "I saw it: my tab said “Reconnecting…”, and then that I was back."),
    ("Grace", "And what you said meanwhile was all there."),
    ("Ada", "Plain Django behind it: one function for each kind of message."),
    ("Grace", "Which thread answered you?"),
    ("Ada", "The foot of the page says so."),
]

FRAME = """
<style>
  body {{ margin: 0; padding: 36px; width: 1528px; height: 720px; box-sizing: border-box;
    background: linear-gradient(120deg, #cfe7e3, #f3e3c8); position: relative; }}
  figure {{ position: absolute; margin: 0; width: 860px; border-radius: 12px; overflow: hidden;
    box-shadow: 0 18px 50px -12px rgb(20 40 50 / 45%); }}
  figure::before {{ content: ""; display: block; height: 30px; background:
    radial-gradient(circle at 20px 15px, #e0796b 5.5px, transparent 6px),
    radial-gradient(circle at 40px 15px, #e5b95c 5.5px, transparent 6px),
    radial-gradient(circle at 60px 15px, #6fb77c 5.5px, transparent 6px), var(--bar); }}
  img {{ display: block; width: 860px; }}
  .day {{ left: 36px; top: 18px; --bar: #e6e0d4; }}
  .night {{ right: 36px; top: 34px; --bar: #26313b; }}
</style>
<figure class="day"><img src="data:image/png;base64,{day}"></figure>
<figure class="night"><img src="data:image/png;base64,{night}"></figure>
"""


def main() -> None:
    """Serve the demo, let two talk there, and write the picture."""
    with (
        tempfile.TemporaryDirectory() as data,
        Site(Path(data)) as site,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        day = open_tab(browser, site, viewport=WINDOW, color_scheme="light", locale="en-GB")
        night = open_tab(browser, site, viewport=WINDOW, color_scheme="dark", locale="en-GB")
        talk(day, night)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_bytes(framed(browser, day.screenshot(), night.screenshot()))
        browser.close()
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1024} KB")  # noqa: T201


def talk(day: Page, night: Page) -> None:
    """Let Ada and Grace say their lines, and Ada begin another."""
    pages = {"Ada": day, "Grace": night}
    for name, page in pages.items():
        enter(page, name)
    for name, text in TALK:
        say(pages[name], text)
        for page in pages.values():
            sees(page, text)
    for page in pages.values():
        page.wait_for_timeout(6_000)  # until the foot of the page has been answered
    night.get_by_label("Your message").press_sequentially("I will")
    day.get_by_text("Grace is typing").wait_for()


def framed(browser: Browser, day: bytes, night: bytes) -> bytes:
    """One picture of two windows, as PNG."""
    page = browser.new_page(viewport={"width": 1528, "height": 720})
    page.set_content(
        FRAME.format(
            day=base64.b64encode(day).decode(),
            night=base64.b64encode(night).decode(),
        ),
        wait_until="load",
    )
    return page.screenshot()


if __name__ == "__main__":
    main()
