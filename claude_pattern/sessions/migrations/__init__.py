"""The history of the database's schema, applied by `claude_pattern.sessions.database`; it only goes forward."""
