"""minikube-py: Kubernetes you can read, running real containers."""

__version__ = "0.1.0"

KUBERNETES_RELEASE = "1.36"
"""The Kubernetes release whose API we serve and whose conformance suite judges us (moving on is a data change)."""
