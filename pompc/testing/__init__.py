"""What the tests of this project, and of projects that build on it, run against."""
