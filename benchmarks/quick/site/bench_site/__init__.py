"""The small site that every server serves."""
