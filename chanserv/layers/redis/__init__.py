"""The Redis channel layer: its servers, the connections to them, and what runs on them."""
