"""The two commands people type: `minikube-py` (clusters and labs) and `kctl` (acts like kubectl)."""
