"""The one error the cluster commands show: a sentence that names the fix.

Who raises it: everything in `minikube_py.cluster`. Who catches it: `minikube_py.cli`, which prints it and exits 1.
Invariant: the message is complete without a traceback.
"""


class ClusterError(Exception):
    """Something a user can mend; the message says what is wrong and what to do."""
