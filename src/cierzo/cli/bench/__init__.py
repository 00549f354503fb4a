"""`cierzo bench`: one file a command, and what they share."""
