"""An embedded server with the API of TensorFlow Serving."""
