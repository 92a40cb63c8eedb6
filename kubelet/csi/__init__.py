"""The kubelet's side of the Container Storage Interface: drivers that register, and the volumes they stage and publish."""
