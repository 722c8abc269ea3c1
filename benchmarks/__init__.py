"""Figures of speed and size, each against a peer in the same run. No test depends on them."""
