"""Measures emorec and its peers in one run, in turn: `make bench`.

A *side* does the work (`benchmarks.sides`), in a process of our environment
or of the peers' (`build/bench-venv`). A *case* compares two sides and gives a
*row*. Not part of the installed package.
"""
