"""Live sessions: one CLI process, one observable state and one reader each."""
