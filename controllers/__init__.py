"""The control loops and the scheduler: stops 7 and 8 of the walk in ARCHITECTURE.md."""
