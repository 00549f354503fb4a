"""What an answer may look like: JSON schemas and grammars, and the masks that hold a model to them."""
