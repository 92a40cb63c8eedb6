"""What only the API server adds to CEL (`minikube_py/api/cel/`): the variable `authorizer`, and threads to evaluate on."""
