"""Side-by-side runs of our SCP and its peers: ``python -m benchmarks``."""
