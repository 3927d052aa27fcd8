"""What the children of a process that runs the site's layer itself have of it."""

from __future__ import annotations

from tests.blocking.programs import printed

RUNS_THE_LAYER = """
import os, sys
from django.conf import settings
settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": "chanserv.layers.MemoryChannelLayer"}})
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.logger import formatEvent, globalLogPublisher
from chanserv.django import Group, channel_layers
from chanserv.layers import face_of, make_layer

globalLogPublisher.addObserver(
    lambda event: str(event["log_namespace"]).startswith("chanserv.")
    and print(formatEvent(event).replace(str(os.getpid()), "N"))
)
layer = make_layer("memory:", reactor)
wrapper = channel_layers.attach("default", face_of(layer, reactor), {spec})
attached = wrapper.channel_layer

def forked(work):
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        try:
            work()
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)

def in_a_thread(work):
    reactor.callWhenRunning(
        lambda: deferToThread(work).addErrback(print).addBoth(lambda _: reactor.stop())
    )
    reactor.run()
"""


def test_it_is_made_from_what_the_layer_was_made_from() -> None:
    assert printed(
        RUNS_THE_LAYER.replace("{spec}", "{'BACKEND': 'tests.blocking.layers.Tied'}")
        + "def child():\n"
        "    wrapper.send('a', {'number': 1})\n"
        "    print(wrapper.receive(['a']), 'twisted.internet.reactor' in sys.modules)\n"
        "def work():\n"
        "    forked(child)\n"
        "    print(wrapper.receive(['a']), wrapper.channel_layer is attached)\n"
        "in_a_thread(work)\n"
    ) == ["('a', {'number': 1}) True", "(None, None) True"]


def test_a_memory_layer_does_not_reach_them_and_that_is_said() -> None:
    (line,) = printed(
        RUNS_THE_LAYER.replace("{spec}", "'memory:'") + "def child():\n"
        "    wrapper.send('a', {'number': 1})\n"
        "    wrapper.send('a', {'number': 1})\n"
        "in_a_thread(lambda: forked(child))\n"
    )
    assert line == (
        "Process N was forked from one that runs the channel layer 'default', which reaches "
        "only that one: what this process sends reaches nobody"
    )


def test_a_daemon_that_forks_before_its_reactor_runs_keeps_it() -> None:
    assert printed(
        RUNS_THE_LAYER.replace("{spec}", "'memory:'") + "def child():\n"
        "    def work():\n"
        "        print(wrapper.channel_layer is attached)\n"
        "        wrapper.send('a', {'number': 1})\n"
        "        print(attached.receive(['a']))\n"
        "    in_a_thread(work)\n"
        "forked(child)\n"
    ) == ["True", "('a', {'number': 1})"]


def test_what_a_consumer_has_gathered_stays_with_its_parent() -> None:
    assert printed(
        RUNS_THE_LAYER.replace("{spec}", "{'BACKEND': 'tests.blocking.layers.Silent'}")
        + "from chanserv.django import gathering\n"
        "from chanserv.worker.outbox import Outbox\n"
        "outbox = Outbox()\n"
        "def child():\n"
        "    wrapper.group_add('g', 'a')\n"
        "    Group('g').send({'number': 2})\n"
        "    print(wrapper.receive(['a']))\n"
        "def work():\n"
        "    run = gathering.begin(wrapper, outbox)\n"
        "    Group('g').send({'number': 1})\n"
        "    forked(child)\n"
        "    Group('g').send({'number': 3})\n"
        "    gathering.end(run)\n"
        "    print([one.message['number'] for one in outbox.operations])\n"
        "in_a_thread(work)\n"
    ) == ["('a', {'number': 2})", "[1, 3]"]
