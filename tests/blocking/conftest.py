from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.blocking import programs


@pytest.fixture(autouse=True)
def no_program_outlives_its_test() -> Iterator[None]:
    yield
    programs.end_all()
