"""The recurrent networks, in keras and keras.ops alone."""
