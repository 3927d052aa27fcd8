from __future__ import annotations

from datetime import timedelta
from unittest import mock
from uuid import uuid4

from demo_site.testing import ConsumerTestCase, Socket
from django.contrib.auth.models import User
from django.test import Client, TestCase
from django.urls import reverse
from django.utils import timezone

from chanserv.django import DenyConnection, Group
from chat import history, presence
from chat.conversation import CLOSE_NAMELESS, CLOSE_SEATLESS
from chat.forms import NameForm, RoomForm
from chat.models import MAX_TEXT, Line, Room, Seat

PATH = "/ws/chat/room/harbour/"


def visitor(name: str) -> Client:
    client = Client()
    client.post(reverse("chat:choose_name"), {"name": name})
    return client


def write(room: Room, number: int) -> list[Line]:
    return [
        Line.objects.create(room=room, author="x", name="X", text=str(n), ref=uuid4())
        for n in range(number)
    ]


class Conversations(ConsumerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.room = Room.objects.get(slug="harbour")

    def enter(self, name: str, query: str = "") -> Socket:
        return self.socket(PATH, visitor(name), query)

    def test_one_who_enters_is_welcomed_and_seen_by_the_others(self) -> None:
        ada = self.enter("Ada")
        welcome, people = ada.heard()
        self.assertEqual(
            (welcome["type"], welcome["name"], welcome["lines"]), ("welcome", "Ada", [])
        )
        self.assertEqual([each["name"] for each in people["people"]], ["Ada"])
        self.enter("Grace")
        [people] = ada.heard()
        self.assertEqual([each["name"] for each in people["people"]], ["Ada", "Grace"])
        self.assertEqual(people["joined"]["name"], "Grace")

    def test_a_line_reaches_everybody_and_is_kept(self) -> None:
        ada, grace = self.enter("Ada"), self.enter("Grace")
        ada.heard(), grace.heard()
        ada.say({"say": " <b>hello</b> ", "ref": uuid4().hex})
        [seen] = grace.heard()
        self.assertEqual(seen["line"]["text"], "<b>hello</b>")
        self.assertEqual(ada.heard(), [seen])
        self.assertEqual(Line.objects.get().text, "<b>hello</b>")

    def test_a_line_sent_twice_is_said_once(self) -> None:
        ada, grace = self.enter("Ada"), self.enter("Grace")
        ada.heard(), grace.heard()
        for _ in range(2):
            ada.say({"say": "hello", "ref": "00" * 16})
        self.assertEqual(len(grace.heard()), 1)
        self.assertEqual(len(ada.heard()), 2)
        self.assertEqual(Line.objects.count(), 1)

    def test_what_cannot_be_said_is_refused(self) -> None:
        ada = self.enter("Ada")
        ada.heard()
        for wrong in (
            {"say": "  ", "ref": uuid4().hex},
            {"say": "x" * (MAX_TEXT + 1), "ref": uuid4().hex},
            {"say": "hello", "ref": "no such thing"},
            {"say": 7},
            ["hello"],
            None,
        ):
            ada.say(wrong)
            self.assertEqual([news["type"] for news in ada.heard()], ["refused"], wrong)
        self.assertFalse(Line.objects.exists())

    def test_the_longest_line_is_said(self) -> None:
        ada = self.enter("Ada")
        ada.heard()
        ada.say({"say": "x" * MAX_TEXT, "ref": uuid4().hex})
        self.assertEqual([news["type"] for news in ada.heard()], ["line"])

    def test_one_who_comes_back_gets_what_was_missed_without_a_stir(self) -> None:
        grace = self.enter("Grace")
        lines = write(self.room, 3)
        grace.heard()
        ada = self.enter("Ada", f"after={lines[0].pk}&back=1")
        welcome, _ = ada.heard()
        self.assertEqual([line["text"] for line in welcome["lines"]], ["1", "2"])
        self.assertTrue(welcome["follows"])
        self.assertIsNone(grace.heard()[0]["joined"])

    def test_a_strange_query_is_none(self) -> None:
        write(self.room, 1)
        for query in ("after=-1", "after=x", "after=" + "9" * 40, "after=%FF"):
            self.assertFalse(self.enter("Ada", query).heard()[0]["follows"], query)

    def test_the_last_tab_of_a_visitor_is_the_one_that_leaves(self) -> None:
        grace, client = self.enter("Grace"), visitor("Ada")
        first, second = self.socket(PATH, client), self.socket(PATH, client)
        grace.heard()
        first.close()
        self.assertEqual(grace.heard(), [])
        second.close()
        self.assertEqual(grace.heard()[0]["left"]["name"], "Ada")

    def test_a_seat_without_a_socket_is_not_shown_and_then_swept_out(self) -> None:
        # As after a server that ended without a word.
        long_ago = timezone.now() - timedelta(hours=1)
        Seat.objects.create(pk="gone!1", room=self.room, author="t", name="Tom", since=long_ago)
        self.assertEqual(presence.people(self.room), [])
        self.enter("Ada")
        self.assertEqual([seat.name for seat in Seat.objects.all()], ["Ada"])

    def test_a_seat_that_was_just_taken_is_not_swept_out(self) -> None:
        Seat.objects.create(pk="x!1", room=self.room, author="t", name="Tom", since=timezone.now())
        self.enter("Ada")
        self.assertEqual(Seat.objects.count(), 2)

    def test_one_without_a_name_or_a_seat_is_told_by_a_close_code(self) -> None:
        nameless = self.socket(PATH, Client())
        self.assertEqual(
            self.replies(nameless.channel), [{"accept": True, "close": CLOSE_NAMELESS}]
        )
        nameless.say({"beat": True})
        self.assertEqual(self.replies(nameless.channel), [{"close": CLOSE_SEATLESS}])
        self.assertEqual(Group(self.room.group).channels(), [])

    def test_a_room_that_is_not_and_a_page_of_elsewhere_are_refused(self) -> None:
        with self.assertRaises(DenyConnection):
            self.socket("/ws/chat/room/nowhere/", visitor("Ada"))
        with self.assertRaises(DenyConnection):
            self.socket("/ws/elsewhere/")
        with self.assertRaises(DenyConnection):
            Socket(self, PATH).connect(visitor("Ada"), "", origin="http://example.org")

    def test_typing_is_passed_on_and_a_beat_is_answered(self) -> None:
        ada, grace = self.enter("Ada"), self.enter("Grace")
        ada.heard(), grace.heard()
        ada.say({"typing": True})
        ada.say({"beat": True})
        self.assertEqual([news["type"] for news in grace.heard()], ["typing"])
        self.assertEqual([news["type"] for news in ada.heard()], ["typing", "beat"])

    def test_the_lobby_hears_who_comes_and_goes(self) -> None:
        lobby = self.socket("/ws/chat/lobby/")
        [everything] = lobby.heard()
        self.assertEqual(len(everything["rooms"]), Room.objects.count())
        ada = self.enter("Ada")
        self.assertEqual(lobby.heard()[0]["rooms"][0]["names"], ["Ada"])
        ada.close()
        self.assertEqual(lobby.heard()[0]["rooms"][0]["names"], [])

    def test_a_user_goes_by_the_account(self) -> None:
        client = Client()
        client.force_login(User.objects.create_user("ada.lovelace"))
        self.assertEqual(self.socket(PATH, client).heard()[0]["name"], "ada.lovelace")


class Histories(TestCase):
    def setUp(self) -> None:
        self.room = Room.objects.get(slug="harbour")

    def test_it_comes_in_pages_from_the_end(self) -> None:
        lines = write(self.room, history.PAGE + 5)
        self.assertEqual(history.latest(self.room), lines[5:])
        self.assertEqual(history.before(self.room, lines[5].pk), lines[:5])
        answer = self.client.get(reverse("chat:earlier", args=["harbour", lines[5].pk])).json()
        self.assertEqual([line["id"] for line in answer["lines"]], [line.pk for line in lines[:5]])
        self.assertFalse(answer["more"])

    def test_one_who_was_away_for_long_starts_anew(self) -> None:
        lines = write(self.room, history.CATCH_UP + 2)
        self.assertEqual(history.after(self.room, lines[1].pk), (lines[2:], True))
        self.assertEqual(history.after(self.room, lines[0].pk), (lines[-history.PAGE :], False))

    def test_only_so_much_is_kept(self) -> None:
        lines = write(self.room, 8)
        with mock.patch.object(history, "KEPT", 5):
            history.forget_oldest(self.room)
        self.assertEqual(list(self.room.lines.all()), lines[3:])


class Forms(ConsumerTestCase):
    def test_a_name_is_made_of_what_one_can_see(self) -> None:
        self.assertEqual(NameForm({"name": "  Ada   L. "}).is_valid(), True)
        for wrong in ("", "   ", "x" * 25, "Ada\u202e", "A\u200bda"):
            self.assertFalse(NameForm({"name": wrong}).is_valid(), repr(wrong))

    def test_each_room_has_an_address_of_its_own(self) -> None:
        slugs = []
        for title in ("Book club", "Book club!", "本", "Name"):
            form = RoomForm({"title": title})
            self.assertTrue(form.is_valid(), form.errors)
            slugs.append(form.save().slug)
        self.assertEqual(slugs, ["book-club", "book-club-2", "room", "name-2"])

    def test_there_are_only_so_many_rooms(self) -> None:
        with mock.patch("chat.forms.MAX_ROOMS", Room.objects.count()):
            self.assertFalse(RoomForm({"title": "One more"}).is_valid())

    def test_a_room_asks_for_a_name_first_and_leads_back(self) -> None:
        page = self.client.get("/chat/harbour/")
        self.assertContains(page, "What shall they call you")
        back = self.client.post("/chat/name/", {"name": "Ada", "next": "/chat/harbour/"})
        self.assertRedirects(back, "/chat/harbour/")

    def test_nobody_is_led_to_another_site(self) -> None:
        for target in ("https://example.org/", "//example.org/", "javascript:alert(1)"):
            answer = self.client.post("/chat/name/", {"name": "Ada", "next": target})
            self.assertRedirects(answer, "/chat/")
