"""A model server for emorec, and its clients."""
