"""The page on the contract speaks of what is there."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

from chanserv import errors, messages
from chanserv.interfaces import IChannelLayer
from chanserv.testing.contract.bookkeeping import NAMES
from chanserv.testing.contract.case import LayerCase
from tests.docs.pages import text

PAGE = text("contract")
NAMED = set(re.findall(r"(?<!`)`(\w[\w.]*)(?:\(\))?`(?!`|__)", PAGE))


def test_every_dotted_name_on_it_can_be_imported() -> None:
    dotted = {name for name in NAMED if name.startswith("chanserv.")}
    assert len(dotted) > 10
    for name in dotted:
        module, _, attribute = name.rpartition(".")
        try:
            import_module(name)
        except ImportError:
            assert hasattr(import_module(module), attribute), name


def test_every_error_of_a_layer_is_on_it() -> None:
    # Bytes that are no message never reach who calls a layer.
    inside = {errors.ChannelLayerError, errors.CorruptMessage, errors.WorkersAbsent}
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.ChannelLayerError) and kind not in inside:
            assert name in NAMED


def test_every_call_of_the_contract_is_on_it() -> None:
    for name in IChannelLayer.names():
        assert re.search(rf"``{name}\b", PAGE), f"{name} is not explained"


def test_every_outcome_and_operation_is_on_it() -> None:
    for outcome in messages.Outcome:
        assert f"``{outcome.value}``" in PAGE
    assert {"Send", "GroupSend", "Forget"} <= {
        name.rpartition(".")[2] for name in NAMED | set(re.findall(r"``(\w+)\(", PAGE))
    }


def test_every_count_is_on_it() -> None:
    for name in NAMES:
        assert f"``{name}``" in PAGE


def test_every_hook_of_the_suite_is_on_it() -> None:
    for hook in ("make_layer", "make_peer", "kill_peer", "advance", "quiet"):
        assert hasattr(LayerCase, hook)
        assert re.search(rf"^``{hook}\b", PAGE, re.MULTILINE), hook
