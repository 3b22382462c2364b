"""Parts of pages that can be used on their own."""
