"""The ingress add-on's program: Ingresses and Gateway API routes served by HAProxy; runs in a pod of the cluster."""
