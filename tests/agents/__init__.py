"""Whole agents, installed from their packages, that mend a repository with Cierzo as their model."""
