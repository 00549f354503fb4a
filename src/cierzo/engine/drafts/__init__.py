"""Drafts: tokens that are likely to come next, so that one step can find out about several."""
