"""A closed track: read from OpenDRIVE, as a centre line with widths, slopes and danger zones. Imports no torch."""
