"""The labs. Each directory is one exercise in the form that `minikube_py/labkit` reads; see `docs/labs.md`."""
