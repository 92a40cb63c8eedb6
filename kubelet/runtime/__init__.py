"""The container runtimes a kubelet can drive, behind one seam (`base.Runtime`)."""
