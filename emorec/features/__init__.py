"""Frozen encoders, their weights, and the features they give."""
