"""Recorded agent sessions, as requests to send again."""
