"""Recipes in, runs and data sets out: the side that users talk to, by `from posemill import …`. Works without torch."""
