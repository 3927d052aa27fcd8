"""Consumers as classes."""
