"""Who may use the server: its keys, where they come from, and when there must be some."""
