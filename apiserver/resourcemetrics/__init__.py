"""The resource metrics API (metrics.k8s.io) without an add-on: what nodes and pods use, asked of the kubelets on demand.

An APIService that names another server for the group, such as metrics-server's own, takes its place at once.
"""
