"""The HTTP and WebSocket surface beside the pages."""
