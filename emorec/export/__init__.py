"""SavedModels that a TensorFlow model server can load."""
