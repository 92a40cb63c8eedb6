"""The node agent: stops 9 and 10 of the walk in ARCHITECTURE.md. Turns bound Pods into running containers."""
