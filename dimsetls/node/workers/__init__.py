"""Several processes that serve the same listeners, and the one that supervises them."""
