"""What moves on the track: vehicles and traffic on a tabulated road, for floats and for tensors alike."""
