"""The demo: a Django site whose pages keep sockets open, served by chanserv."""
