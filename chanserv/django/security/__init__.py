"""Keeping strangers out."""
