"""A small Django site with a view or consumer for every kind of thing that tests ask for."""
