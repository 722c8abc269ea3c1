"""The embedded generator: its drawn world, its training and its scores (`python -m tools.embedded`)."""
