"""Shipped test helpers: the scripted Messages API and isolated CLI environments."""
