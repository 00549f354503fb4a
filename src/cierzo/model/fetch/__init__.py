"""From what a user types for a model to files on disk: registry, hub, packages."""
