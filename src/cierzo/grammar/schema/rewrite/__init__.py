"""A schema to a mask: what llguidance is told of it, part by part."""
