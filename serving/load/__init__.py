"""Load on a model server: requests, loops that send them, measurements."""
