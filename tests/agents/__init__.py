"""Whole agents, installed from their packages, that mend a repository with Cierzo's answers."""
