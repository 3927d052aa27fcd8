"""Pure rules, without a reactor, a socket or Django."""
