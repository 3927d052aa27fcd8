"""Commands of C{manage.py}."""
