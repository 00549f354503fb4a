"""The tokens of an answer to content and calls, as they come."""
