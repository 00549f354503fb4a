"""An answer to an ask: what every protocol, the Python door and the terminal come down to.

Ask (what is wanted), prepare (the one place that checks it, and makes jobs of it), answers (the
jobs' deltas in order, with asyncio or without), receipt (what it took).
"""
