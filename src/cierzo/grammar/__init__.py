"""What form an answer may have: JSON schemas, grammars, and the masks that hold a model to them."""
