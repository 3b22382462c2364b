"""`python -m claude_pattern` does what the `claude-pattern` command does."""

from claude_pattern.cli import main

if __name__ == "__main__":
    main()
