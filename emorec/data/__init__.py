"""Manifests, records, shards and the sample set."""
