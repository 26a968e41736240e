"""emorec on Apache Beam and TFX: the work on more than one machine."""
