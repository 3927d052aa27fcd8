"""chanserv: Django sites that keep sockets open, served over channel layers."""

__version__ = "0.1.0"
