from __future__ import annotations

import inspect
import pickle

import pytest

from chanserv import errors
from chanserv.errors import (
    ChannelFull,
    ChannelLayerError,
    ChanservError,
    ConsumeLater,
    ConsumerSignal,
    DenyConnection,
    InvalidChannelName,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
)

EXAMPLES: list[ChanservError] = [
    InvalidChannelName("'a b' is not a channel name"),
    InvalidMessage("message['a']", "is of type set"),
    MessageTooLarge("a", 2000, 1000),
    ChannelFull("a", 100, 100, 12.34),
    LayerUnavailable("closed"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_trip_to_another_process(error: ChanservError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_a_layers_errors_are_caught_as_such_and_take_one_line(error: ChanservError) -> None:
    assert isinstance(error, ChannelLayerError)
    assert "\n" not in str(error)


def test_every_error_is_chanservs_own() -> None:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    ours = [one for one in classes if one.__module__ == errors.__name__]
    assert len(ours) > 10
    assert all(issubclass(one, ChanservError) for one in ours)


def test_a_consumers_signals_are_no_faults_of_a_layer() -> None:
    for signal in (ConsumeLater, DenyConnection):
        assert issubclass(signal, ConsumerSignal)
        assert not issubclass(signal, ChannelLayerError)


def test_a_full_channel_says_all_that_an_operator_needs() -> None:
    message = str(ChannelFull("http.request", 99, 100, 12.34))
    for part in ("'http.request'", "99 messages", "capacity is 100", "12.3 s"):
        assert part in message
