"""A self-hosted web platform for Claude agents, and the library under it."""

__version__ = "0.1.0"
