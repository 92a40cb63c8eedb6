# One image for every component. BASE is any Debian-like image with Python 3.11 or newer; hack/base-image.sh makes one
# from the distribution's packages where no registry can be reached. Wheels collected on the host (hack/wheels.sh) are
# used when they are there, so that the build needs no network; otherwise pip fetches what it needs.
ARG BASE=python:3.12-slim
FROM ${BASE}

RUN command -v nft >/dev/null && command -v conntrack >/dev/null && command -v etcd >/dev/null && command -v haproxy >/dev/null || \
    (apt-get update -qq && apt-get install -y -qq --no-install-recommends nftables conntrack iptables etcd-server haproxy && \
     rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /opt/minikube-py
ENV PATH=/opt/minikube-py/bin:$PATH PYTHONUNBUFFERED=1

WORKDIR /src
COPY build/wheels /wheels
COPY pyproject.toml README.md LICENSE ./
COPY minikube_py minikube_py
COPY apiserver apiserver
COPY controllers controllers
COPY kubelet kubelet
COPY labs labs
RUN if ls /wheels/*.whl >/dev/null 2>&1; \
    then pip install --quiet --no-index --find-links /wheels --no-build-isolation setuptools wheel && \
         pip install --quiet --no-index --find-links /wheels --no-build-isolation . ; \
    else pip install --quiet . ; fi && rm -rf /src /wheels
WORKDIR /
CMD ["minikube-py", "--help"]
