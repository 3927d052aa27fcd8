"""How Sphinx builds these pages: with what is installed, and no network."""

import re
from pathlib import Path

_package = Path(__file__).resolve().parent.parent / "chanserv" / "__init__.py"
_version = re.search(r'^__version__ = "([^"]+)"$', _package.read_text(), re.MULTILINE)
assert _version

project = "chanserv"
author = "the authors of chanserv"
release = version = _version[1]

# The decisions are for readers of the repository, in Markdown.
exclude_patterns = ["_build", "decisions"]
default_role = "code"
highlight_language = "python"
nitpicky = True
html_theme = "alabaster"
html_theme_options = {
    "description": "The server for Django sites that keep sockets open",
    "fixed_sidebar": True,
}
html_copy_source = False
