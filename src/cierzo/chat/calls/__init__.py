"""How models write tool calls: the grammar that holds them to it, and the parser for them."""
