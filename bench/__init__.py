"""The benchmark: `python -m bench`. Measures a cluster of ours, and, beside it in the same run, any other Kubernetes API."""
