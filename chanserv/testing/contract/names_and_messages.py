"""What may be sent where, and that it comes out as it went in."""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from chanserv.errors import InvalidChannelName, InvalidMessage, MessageTooLarge
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Forget, GroupSend, Send
from chanserv.testing.contract.case import LayerCase

MEBIBYTE = 1024 * 1024

BAD_NAMES: tuple[Any, ...] = (
    "",
    "a b",
    "ä",
    "a/b",
    "a\n",
    "!",
    "?x",
    "a!b!c",
    "a?b!c",
    "a" * 201,
    b"bytes",
    None,
    5,
)

EVERY_TYPE: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "smallest": -(2**63),
    "largest": 2**63 - 1,
    "float": 1.5,
    "no text": "",
    "text": "grüße \U0001f600 \x00",
    "no bytes": b"",
    "bytes": bytes(range(256)),
    "list": [1, "two", b"three", None, [4, [5.0]]],
    "dict": {"a": {"b": [{"c": b"d"}]}},
    "empty": [[], {}],
    "": "a key may be empty",
}


class NamesAndMessages(LayerCase):
    """Names, types, sizes."""

    async def test_it_provides_the_interface(self) -> None:
        self.assertTrue(verifyObject(IChannelLayer, await self.layer()))

    async def test_it_has_the_extensions_groups_flush_and_statistics(self) -> None:
        layer = await self.layer()
        self.assertLessEqual({"groups", "flush", "statistics"}, set(layer.extensions))

    async def test_it_tells_its_expiries_in_seconds(self) -> None:
        layer = await self.layer(expiry=7, group_expiry=11)
        self.assertEqual((layer.expiry, layer.group_expiry), (7, 11))

    async def test_a_channel_name_outside_the_grammar_fails_every_call(self) -> None:
        layer = await self.layer()
        for name in BAD_NAMES:
            for attempt in (
                layer.send(name, {}),
                layer.receive([name]),
                layer.receive(["good", name]),
                layer.group_add("group", name),
                layer.group_discard("group", name),
                layer.channel_statistics(name),
            ):
                await self.refused(attempt, InvalidChannelName)

    async def test_a_group_name_outside_the_grammar_fails_every_call(self) -> None:
        layer = await self.layer()
        for name in (*BAD_NAMES, "group!", "group?", "group!x"):
            for attempt in (
                layer.group_add(name, "channel"),
                layer.group_discard(name, "channel"),
                layer.group_channels(name),
                layer.send_group(name, {}),
            ):
                await self.refused(attempt, InvalidChannelName)

    async def test_a_bad_name_in_a_batch_is_that_operations_error(self) -> None:
        layer = await self.layer()
        *bad, good = await layer.send_batch(
            [Send("a b", {}), GroupSend("a!", {}), Forget("a b"), Send("good", {"number": 1})]
        )
        for error in bad:
            self.assertIsInstance(error, InvalidChannelName)
        self.assertIsNone(good)

    async def test_a_name_of_200_characters_is_good(self) -> None:
        layer = await self.layer()
        for name in ("a" * 200, "b" * 99 + "!" + "c" * 100, "d" * 199 + "?"):
            await layer.send(name, {"number": 1})
            mailbox = name.partition("!")[0] + "!" if "!" in name else name
            delivery = await self.take_one(layer, mailbox)
            self.assertEqual(delivery.recipients, (name,))

    async def test_every_character_of_the_grammar_is_good(self) -> None:
        layer = await self.layer()
        name = "AZaz09._-"
        await layer.group_add(name, name)
        await layer.send_group(name, {"number": 1})
        self.assertEqual((await self.take_one(layer, name)).channel, name)

    async def test_names_that_look_alike_are_different_channels(self) -> None:
        layer = await self.layer()
        names = ["x", "X", "x.", "x-", "x_", "x?", "x!", "x.y", "xx"]
        for number, name in enumerate(names):
            await layer.send(name, {"number": number})
        for number, name in enumerate(names):
            self.assertEqual(self.numbers(await self.read(layer, name)), [number])

    async def test_a_local_part_cannot_be_received_from(self) -> None:
        layer = await self.layer()
        await self.refused(layer.receive(["reply!local"]), InvalidChannelName)

    async def test_every_type_of_the_spec_comes_out_as_it_went_in(self) -> None:
        layer = await self.layer()
        await layer.send("channel", EVERY_TYPE)
        message = (await self.take_one(layer, "channel")).message
        self.assertEqual(message, EVERY_TYPE)
        self.assertEqual(_types(message), _types(EVERY_TYPE))

    async def test_an_empty_message_is_a_message(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {})
        self.assertEqual((await self.take_one(layer, "channel")).message, {})

    async def test_tuples_come_out_as_lists(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {"headers": [(b"a", b"1")], "pair": (1, ("x", 2))})
        message = (await self.take_one(layer, "channel")).message
        self.assertEqual(message["headers"], [[b"a", b"1"]])
        self.assertEqual(message["pair"], [1, ["x", 2]])

    async def test_a_type_outside_the_spec_is_refused_with_its_key_path(self) -> None:
        layer = await self.layer()
        for value in (object(), {1, 2}, 1j, 2**63, bytearray(b"x"), {1: 2}):
            message = {"a": [{"b": value}]}
            await layer.group_add("group", "channel")
            (in_batch,) = await layer.send_batch([Send("channel", message)])
            for error in (
                await self.refused(layer.send("channel", message), InvalidMessage),
                await self.refused(layer.send_group("group", message), InvalidMessage),
                in_batch,
            ):
                assert isinstance(error, InvalidMessage)
                self.assertIn("message['a'][0]['b']", error.path)
        self.assertEqual(await self.read(layer, "channel"), [])

    async def test_a_message_that_is_no_dict_is_refused(self) -> None:
        layer = await self.layer()
        for message in (None, "text", b"bytes", [("a", 1)], 5):
            await self.refused(layer.send("channel", message), InvalidMessage)  # type: ignore[arg-type]

    async def test_a_message_that_holds_itself_is_refused(self) -> None:
        layer = await self.layer()
        message: dict[str, Any] = {}
        message["self"] = message
        await self.refused(layer.send("channel", message), InvalidMessage)

    async def test_a_message_of_one_mebibyte_is_carried(self) -> None:
        layer = await self.layer()
        content = bytes(range(256)) * (MEBIBYTE // 256)
        await layer.send("channel", {"content": content[:-200], "more_content": True})
        message = (await self.take_one(layer, "channel")).message
        self.assertTrue(message["content"] == content[:-200], "it has been changed")

    async def test_a_message_over_the_layers_limit_is_refused_by_its_size(self) -> None:
        layer = await self.layer(max_message_size=10_000)
        await layer.group_add("group", "channel")
        large = {"content": b"x" * 10_100}
        (in_batch,) = await layer.send_batch([Send("channel", large)])
        for error in (
            await self.refused(layer.send("channel", large), MessageTooLarge),
            await self.refused(layer.send_group("group", large), MessageTooLarge),
            in_batch,
        ):
            assert isinstance(error, MessageTooLarge)
            self.assertEqual(error.limit, 10_000)
            self.assertGreaterEqual(error.size, 10_100)
        self.assertEqual(await self.read(layer, "channel"), [])

    async def test_what_was_sent_does_not_change_with_the_senders_dict(self) -> None:
        layer = await self.layer()
        await layer.group_add("group", "channel")
        for send in (
            lambda message: layer.send("channel", message),
            lambda message: layer.send_group("group", message),
            lambda message: layer.send_batch([Send("channel", message)]),
        ):
            message: dict[str, Any] = {"text": "sent", "list": [[b"a"]], "dict": {"b": [1]}}
            await send(message)
            message["text"] = "changed"
            message["list"][0].append(b"changed")
            message["dict"]["b"].clear()
            message["new"] = 1
            delivery = await self.take_one(layer, "channel")
            self.assertEqual(
                delivery.message, {"text": "sent", "list": [[b"a"]], "dict": {"b": [1]}}
            )


def _types(value: Any) -> Any:
    """The shape of C{value}, with the types of all in it."""
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_types(item) for item in value]
    return type(value)
