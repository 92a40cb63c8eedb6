"""Starting, stopping and looking after whole clusters: certificates, processes, images, networks of one profile."""
