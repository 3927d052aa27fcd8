from __future__ import annotations

import pickle

import pytest

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.redis.refusals import LONGEST_TEXT, Refusal, Refused


@pytest.mark.parametrize(
    ("text", "code", "ends", "lasting", "says"),
    [
        ("READONLY You can't write", "READONLY", True, False, "it is a replica"),
        ("LOADING Redis is loading", "LOADING", True, False, "still loading its data"),
        ("NOAUTH Authentication required.", "NOAUTH", True, True, "give one in the URL"),
        ("WRONGPASS invalid username-password", "WRONGPASS", False, True, "refuses the user"),
        ("NOPERM this user has no permissions", "NOPERM", False, True, "the rights that the layer"),
        ("OOM command not allowed", "OOM", False, False, "raise its maxmemory"),
        ("MISCONF Errors writing", "MISCONF", False, False, "see its log"),
        ("CROSSSLOT Keys in request", "CROSSSLOT", False, True, "a node of a cluster"),
        ("ERR max number of clients reached", "ERR", False, False, "raise its maxclients"),
        ("max number of clients reached", "ERR", False, False, "raise its maxclients"),
        (
            (
                "ERR The user executing the script can't run this command or subcommand "
                "script: da84, on @user_script:1."
            ),
            "ERR",
            False,
            True,
            "its ACL does not let",
        ),
        # As Redis 7 and later put what fails in a script:
        (
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 1f8f, "
                "on @user_script:1."
            ),
            "OOM",
            False,
            False,
            "maxmemory",
        ),
        # As Redis 6 did:
        (
            (
                "ERR Error running script (call to f_1f8f): @user_script:1: @user_script: 1: "
                "-READONLY You can't write against a read only replica. "
            ),
            "READONLY",
            True,
            False,
            "it is a replica",
        ),
        (
            (
                "ERR Error running script (call to f_1f8f): @user_script:12: @user_script: 12: "
                "-OOM command not allowed when used memory > 'maxmemory'. "
            ),
            "OOM",
            False,
            False,
            "maxmemory",
        ),
    ],
)
def test_an_error_says_what_it_means_and_what_to_do(
    text: str, code: str, ends: bool, lasting: bool, says: str
) -> None:
    refusal = Refusal.of(text, "h:1/0")
    error = refusal.error
    assert isinstance(error, Refused)
    assert isinstance(error, LayerUnavailable)
    assert (error.code, refusal.ends_connection, error.lasting) == (code, ends, lasting)
    assert str(error).startswith("Redis h:1/0: ")
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ERR wrong number of arguments", "Redis h:1/0 answers: ERR wrong number of arguments"),
        ("wrong number of arguments", "Redis h:1/0 answers: wrong number of arguments"),
        ("WRONGTYPE Operation against a key", "Redis h:1/0: a key of another program has"),
        (
            "ERR Error running script (call to f_1f8f): @user_script:1: WRONGTYPE Operation",
            "choose another prefix",
        ),
        ("ERR user_script:7: boo script: 4c40, on @user_script:7.", "answers: ERR user_script:7"),
    ],
)
def test_what_is_a_fault_and_no_state_says_so(text: str, says: str) -> None:
    refusal = Refusal.of(text, "h:1/0")
    assert type(refusal.error) is ChannelLayerError
    assert says in str(refusal.error)
    assert not refusal.ends_connection


def test_a_long_error_is_shortened_to_one_line() -> None:
    error = str(Refusal.of("ERR unknown command, with args: " + "x\n" * 500, "h").error)
    assert "\n" not in error
    assert len(error) < LONGEST_TEXT + 40


def test_a_refusal_can_be_carried_to_another_process() -> None:
    error = Refusal.of("NOPERM no", "h").error
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code, again.lasting) == (str(error), "NOPERM", True)
