"""The pure bottom layer: Kubernetes objects as JSON dicts, and functions over them. No I/O, imports nothing above it."""
