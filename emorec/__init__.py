"""emorec: the emotion in a video clip, from the face and its surroundings."""

__version__ = "0.1.0"
