"""What a constraint does to a sequence: masks, forced tokens, values that are verified."""
