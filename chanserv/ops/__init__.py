"""What an operator sees of a running system, and what the system tells its machine."""
