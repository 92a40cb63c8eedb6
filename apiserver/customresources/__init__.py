"""Custom resources: kinds that users define (apiextensions.k8s.io/v1), served beside the built-in ones."""
