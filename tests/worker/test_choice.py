"""Tests for C{chanserv.worker.choice}."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from chanserv.errors import ConfigurationError
from chanserv.interfaces import IApplication
from chanserv.worker.choice import SomeChannels, chosen_channels, narrowed
from chanserv.worker.outbox import Outbox
from tests.worker.fakes import FakeApplication

SITE = frozenset({"http.request", "websocket.connect", "websocket.receive", "thumbnails.make"})


@pytest.mark.parametrize(
    ("only", "exclude", "chosen"),
    [
        ((), (), SITE),
        (("thumbnails.*",), (), {"thumbnails.make"}),
        (("http.request", "thumbnails.*"), (), {"http.request", "thumbnails.make"}),
        ((), ("thumbnails.*",), SITE - {"thumbnails.make"}),
        (("websocket.*",), ("*.receive",), {"websocket.connect"}),
        (("websocket.[cd]*",), (), {"websocket.connect"}),
    ],
)
def test_globs_choose_channels(
    only: tuple[str, ...], exclude: tuple[str, ...], chosen: set[str]
) -> None:
    assert chosen_channels(SITE, only, exclude) == chosen


@pytest.mark.parametrize(
    ("only", "exclude", "said"),
    [
        (("thumbnail.*",), (), "--only-channels=thumbnail.* matches none of the site's channels"),
        (("http.*", "x"), (), "--only-channels=x matches none"),
        ((), ("HTTP.*",), "--exclude-channels=HTTP.* matches none"),
        ((), ("request",), "--exclude-channels=request matches none"),
        ((), ("*",), "--exclude-channels=* leaves none of the site's channels to read"),
        (("http.*",), ("http.*",), "--only-channels=http.* --exclude-channels=http.* leaves none"),
    ],
)
def test_a_choice_that_was_not_meant_is_refused_with_the_channels_there_are(
    only: tuple[str, ...], exclude: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        chosen_channels(SITE, only, exclude)
    assert said in str(caught.value)
    assert ", ".join(sorted(SITE)) in str(caught.value)


class TestSomeChannels:
    def test_it_is_an_application(self) -> None:
        verifyObject(IApplication, SomeChannels(FakeApplication(print), {"a"}))

    def test_it_has_only_the_channels_that_were_chosen(self) -> None:
        application = FakeApplication(print, ["a", "b", "none.a", "none.b"], ["none.a", "none.b"])
        some = narrowed(application, ("*a",), ())
        assert some.channel_names() == {"a", "none.a"}
        assert some.ignored_channels() == {"none.a"}

    def test_without_a_choice_the_application_is_as_it_was(self) -> None:
        application = FakeApplication(print)
        assert narrowed(application, (), ()) is application

    def test_it_runs_the_consumers_of_the_application(self) -> None:
        ran: list[tuple[object, ...]] = []
        some = SomeChannels(FakeApplication(lambda *given: ran.append(given)), {"a"})
        outbox = Outbox()
        some.run("a", {"n": 1}, outbox)
        assert ran == [("a", {"n": 1}, outbox)]
        assert outbox.consumer == "site.consumers.only"
