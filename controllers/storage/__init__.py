"""The control loops of persistent volumes: binding, protection, expansion, ephemeral claims, attaching, provisioning."""
