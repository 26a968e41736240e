"""emorec on Apache Beam and TFX: what runs the work on more than one machine."""
