"""The options of the command line: what each takes, and what it is for."""
