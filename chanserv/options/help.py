"""The text of C{--help}, made from the table of options."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from chanserv import __version__
from chanserv.options.daphne import FORMER_NAMES, SHORT
from chanserv.options.table import CHOICES, GROUPS

_ABOUT: Final = f"""
chanserv {__version__} serves Django sites that keep sockets open. Connections end in an interface
server that runs none of the site's code; workers run the site, and a channel layer carries
messages between the two.
"""

_EXAMPLES: Final = """\
Examples:
  A site in one process, at http://127.0.0.1:8000/:
    twistd -n chanserv --settings=mysite.settings
  The same for everyone, on port 80, with an access log:
    twistd -n chanserv --settings=mysite.settings --listen=tcp:80 --access-log=access.log
  On all cores, with new code whenever this process gets a SIGHUP:
    twistd -n chanserv --settings=mysite.settings --layer=ipc:mysite --workers=4
  Apart, over a layer that both reach: the interface server, and the workers:
    twistd -n chanserv --layer=ipc:mysite
    twistd -n chanserv --layer=ipc:mysite --settings=mysite.settings --no-listen

SIZE is in bytes, or as 64K, 10M, 1G; TIME in seconds, or as 500ms, 2m, 1h.
"""


def _entry(written: str, doc: str, width: int) -> str:
    """One option, and what it is for."""
    return textwrap.fill(
        doc,
        width,
        initial_indent=f"  {written:<36}" if len(written) < 35 else f"  {written}  ",
        subsequent_indent=" " * 38,
        break_on_hyphens=False,
    )


def help_lines(width: int) -> Iterator[str]:
    """The text of C{--help}, for a terminal of C{width} columns, in paragraphs."""
    yield textwrap.fill(" ".join(_ABOUT.split()), width)
    for title, group in GROUPS:
        yield f"\n{title}:"
        for choice in group:
            written = f"--{choice.name}" + (f"={choice.kind.shown}" if choice.kind.shown else "")
            doc = choice.doc
            if choice.default not in (None, ""):
                doc += f" [{choice.kind.show(choice.default)}]"
            yield _entry(written, doc, width)
    yield "\nNames that Daphne has for the same:"
    for former in FORMER_NAMES:
        written = f"-{former.short}, " * bool(former.short) + f"--{former.name}={former.shown}"
        yield _entry(written, former.ours, width)
    for letter, name in SHORT.items():
        yield _entry(f"-{letter} {CHOICES[name].kind.shown}", f"--{name}", width)
    yield f"\n  {'--version':<36}Show the version and exit.\n  {'--help':<36}Show this and exit.\n"
    yield _EXAMPLES
