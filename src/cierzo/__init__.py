"""Cierzo: Devstral Small on your own machine, behind the API you already use."""
