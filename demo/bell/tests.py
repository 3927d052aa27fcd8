from __future__ import annotations

import json
import threading
from typing import Any

from demo_site.testing import MAILBOX, ConsumerTestCase
from django.test import SimpleTestCase

from bell import patience
from bell.answers import WAITING
from bell.models import Bell
from chanserv.django import Group


class LongPolls(ConsumerTestCase):
    def ask(self, number: int, query: str = "after=0", method: str = "GET") -> str:
        channel = f"{MAILBOX}poll{number}"
        self.run_message(
            "http.request",
            reply_channel=channel,
            path="/bell/wait/",
            method=method,
            query_string=query.encode(),
        )
        return channel

    def leave(self, channel: str) -> None:
        self.run_message("http.disconnect", reply_channel=channel, path="/bell/wait/")

    def count(self, channel: str) -> Any:
        [answer] = self.replies(channel)
        self.assertEqual(answer["status"], 200)
        return json.loads(answer["content"])["count"]

    def test_one_ring_answers_all_who_wait(self) -> None:
        polls = [self.ask(number) for number in range(3)]
        self.assertEqual([self.replies(poll) for poll in polls], [[], [], []])
        self.assertEqual(self.client.post("/bell/ring/").json()["count"], 1)
        self.assertEqual([self.count(poll) for poll in polls], [1, 1, 1])
        for poll in polls:
            self.leave(poll)

    def test_one_who_missed_a_ring_is_answered_at_once(self) -> None:
        Bell.ring("Ada")
        self.assertEqual(self.count(self.ask(0, "after=0")), 1)
        for strange in ("", "after=", "after=-1", "after=x", "after=" + "9" * 40):
            self.assertEqual(self.count(self.ask(1, strange)), 1)

    def test_one_who_left_is_no_longer_waited_for(self) -> None:
        poll = self.ask(0)
        self.assertEqual(Group(WAITING).channels(), [poll])
        self.leave(poll)
        self.assertEqual(Group(WAITING).channels(), [])
        self.client.post("/bell/ring/")
        self.assertEqual(self.replies(poll), [])

    def test_one_can_only_ask(self) -> None:
        [answer] = self.replies(self.ask(0, method="POST"))
        self.assertEqual(answer["status"], 405)

    def test_the_page_is_an_ordinary_one(self) -> None:
        Bell.ring("<Ada>")
        self.assertContains(self.client.get("/bell/"), "rung last by &lt;Ada&gt;")


class Patiences(SimpleTestCase):
    def test_a_wait_ends_with_no_content_and_a_forgotten_one_does_not(self) -> None:
        ended: list[str] = []
        both = threading.Event()

        def channel(name: str) -> Any:
            class Channel:
                def send(self, content: dict[str, Any], immediately: bool) -> None:
                    assert (content["status"], immediately) == (204, True)
                    ended.append(name)
                    if name == "last":
                        both.set()

            return Channel()

        subject = patience.Patience(seconds=0.05, channel=channel)
        for name in ("first", "forgotten", "last"):
            subject.begin(name)
            if name == "forgotten":
                subject.forget(name)
        self.assertTrue(both.wait(30))
        self.assertEqual(ended, ["first", "last"])
