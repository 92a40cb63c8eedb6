"""What makes an object wrong beyond its schema: one file per family of kinds, functions object → list of causes."""
