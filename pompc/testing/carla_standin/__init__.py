"""``python -m pompc.testing.carla_standin`` is ``pompc carla standin``."""
