"""Pixels out of files: frames, faces, tracks and clips."""
