"""Pictures of a race."""
