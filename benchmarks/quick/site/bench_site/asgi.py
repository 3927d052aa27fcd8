"""The site on Channels 4, with asynchronous consumers: its fastest kind."""

import os

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

from bench_site.news import GROUP, items

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench_site.settings_channels")


class Echo(AsyncWebsocketConsumer):
    """Send back what comes."""

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data)


class Member(AsyncWebsocketConsumer):
    """One socket of the group."""

    async def connect(self):
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def news(self, event):
        await self.send(text_data=event["text"])


class Sender(AsyncWebsocketConsumer):
    """A socket whose messages have items sent to the group."""

    async def receive(self, text_data=None, bytes_data=None):
        for text in items(text_data):
            await self.channel_layer.group_send(GROUP, {"type": "news", "text": text})


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter(
            [
                path("echo/", Echo.as_asgi()),
                path("member/", Member.as_asgi()),
                path("sender/", Sender.as_asgi()),
            ]
        ),
    }
)
