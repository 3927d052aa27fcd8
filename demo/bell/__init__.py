"""A bell that many pages wait for with long polls, and any of them can ring."""
