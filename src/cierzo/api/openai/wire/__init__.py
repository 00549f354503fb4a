"""What clients send and receive, field by field, and whether it is well formed.

msgspec reads, checks and writes it, and says which field is wrong; the app's OpenAPI is made from
the same classes.
"""
