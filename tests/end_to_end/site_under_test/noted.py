"""What the site has seen, in order; its view C{/notes/} tells it."""

noted: list[str] = []
