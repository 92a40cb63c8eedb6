"""The add-on `mesh`: sidecar proxies with mutual TLS, routes and policies; its control plane and its agent run in pods."""
