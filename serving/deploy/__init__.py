"""Container and Kubernetes files for the model server."""
