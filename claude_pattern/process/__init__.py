"""The CLI process seen from outside: how it is started, recognised and ended."""
