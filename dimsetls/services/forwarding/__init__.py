"""Forwarding: what is stored is sent on to peers, from a queue on disk that outlives restarts and outages."""
