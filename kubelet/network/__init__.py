"""The pod network, the service proxy and cluster DNS of one node."""
