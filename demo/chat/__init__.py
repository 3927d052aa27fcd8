"""A chat with rooms: pages, sockets, groups, presence and history."""
