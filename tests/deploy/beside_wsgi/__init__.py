"""The site of the tests, as it runs in two servers at a time."""
