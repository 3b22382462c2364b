"""Sample extensions that work offline."""
