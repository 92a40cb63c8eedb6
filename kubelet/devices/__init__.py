"""Devices: found, advertised as extended resources, given to containers."""
