"""What a pod mounts: one file per family of volume source, and the manager that sets them up and tears them down."""
