"""Why a prompt was not found in the cache, although the one before it was like it.

An outline says what a prompt is made of, without its words; of recent requests outlines and tokens
are kept; a parting is where two prompts stop being the same; a diagnosis says which part of the
request that was, and how it changed.
"""
