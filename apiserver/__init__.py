"""The API server: stops 1 to 5 of the walk in ARCHITECTURE.md. Meets every other component only over HTTPS."""
