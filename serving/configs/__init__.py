"""The model server's config files: their schemas, checks and makers."""
