"""`python -m minikube_py.cli.kctl`."""

from minikube_py.cli.kctl.main import main

main()
