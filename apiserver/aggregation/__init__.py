"""The aggregation layer: groups and versions that other servers serve, registered with APIService objects."""
