"""What is sent to the group, the same on every server."""

from collections.abc import Iterator

GROUP = "members"


def items(command: str) -> Iterator[str]:
    """The hundred characters of each item that C{"FIRST COUNT"} asks for."""
    first, count = map(int, command.split())
    for number in range(first, first + count):
        yield f"{number:08d}".ljust(100, ".")
