"""Programs for tests, of this project and of others: ``python -m pompc.testing.<name>``."""
