# What makes "chanserv" a command of twistd and twist.  Twisted imports this file
# whenever it lists plugins, so it imports nothing of ours.

from twisted.application.service import ServiceMaker

chanserv = ServiceMaker(
    "chanserv",
    "chanserv.tap",
    "Serve a Django site, WebSockets included, over channel layers.",
    "chanserv",
)
