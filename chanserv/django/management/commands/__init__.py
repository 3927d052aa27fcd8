"""Commands of C{manage.py}, one a module."""
