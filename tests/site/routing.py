"""Which consumer gets which message."""

from chanserv.django import include, route, route_class
from tests.site import consumers

rooms = [
    route("websocket.connect", consumers.join_room, path=r"^(?P<room>\w+)/$"),
    route("websocket.receive", consumers.say_in_room, path=r"^(?P<room>\w+)/$"),
    route("websocket.disconnect", consumers.leave_room, path=r"^(?P<room>\w+)/$"),
]

channel_routing = [
    route("websocket.connect", consumers.echo_connect, path=r"^/echo/$"),
    route("websocket.receive", consumers.echo_receive, path=r"^/echo/$"),
    route("websocket.connect", "tests.site.consumers.denied", path=r"^/denied/$"),
    include("tests.site.routing.rooms", path=r"^/rooms/"),
    route("websocket.connect", consumers.count_connect, path=r"^/count/$"),
    route("websocket.receive", consumers.count_receive, path=r"^/count/$"),
    route("websocket.disconnect", consumers.count_disconnect, path=r"^/count/$"),
    route("websocket.connect", consumers.user_connect, path=r"^/user/$"),
    route("websocket.receive", consumers.user_receive, path=r"^/user/$"),
    route("websocket.connect", consumers.fail, path=r"^/fails/$"),
    route("websocket.receive", consumers.fail, path=r"^/fails-later/$"),
    consumers.ClassEcho.as_route(path=r"^/class/(?P<name>\w+)/$"),
    route_class(consumers.JsonEcho, path=r"^/json/$"),
    route("note", consumers.note),
    route("note-async", consumers.note_async),
    route("log", consumers.log),
    route("log-async", consumers.log_async),
    route("fail", consumers.fail),
    route("again", consumers.again),
    route("send-everywhere", consumers.send_everywhere),
]
