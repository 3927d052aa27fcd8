"""A worker that knows the messages of ASGI 1 and nothing of chanserv."""

from old_layer import channel_layer

CHANNELS = ["http.request", "websocket.connect", "websocket.receive", "websocket.disconnect"]

while True:
    channel, message = channel_layer.receive(CHANNELS, block=True)
    if channel == "http.request":
        body = b"answered " + message["path"].encode()
        headers = [[b"Content-Type", b"text/plain"]]
        answer = {"status": 200, "headers": headers, "content": body}
        channel_layer.send(message["reply_channel"], answer)
    elif channel == "websocket.connect":
        channel_layer.send(message["reply_channel"], {"accept": True})
        channel_layer.group_add("all", message["reply_channel"])
    elif channel == "websocket.receive":
        channel_layer.send_group("all", {"text": message["text"]})
    elif channel == "websocket.disconnect":
        channel_layer.group_discard("all", message["reply_channel"])
