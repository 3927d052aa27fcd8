"""What one process runs: its parts, put together as a config asks for."""
