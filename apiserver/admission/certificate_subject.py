"""CertificateSubjectRestriction: nobody gets a client certificate for the all-powerful group system:masters signed.

Who calls it: `chain.py`, at the creation of certificate requests. Invariant: whoever may approve requests still cannot make
anybody an administrator beyond revocation.
Upstream: plugin/pkg/admission/certificates/subjectrestriction.
"""

import base64
import logging

from cryptography import x509

from apiserver.admission.attributes import CREATE, Attributes

log = logging.getLogger(__name__)
_SIGNER, _GROUP = "kubernetes.io/kube-apiserver-client", "system:masters"


def check(attributes: Attributes) -> None:
    """Raises Forbidden for a request of the API server's client signer that names the group."""
    if not attributes.is_("certificatesigningrequests.certificates.k8s.io", CREATE) or attributes.obj is None:
        return
    spec = attributes.obj.get("spec") or {}
    if spec.get("signerName") != _SIGNER:
        return
    try:
        subject = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or "")).subject
    except ValueError:
        raise attributes.forbidden("failed to parse CSR") from None
    groups = [item.value for item in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
    if _GROUP in groups:
        log.info("refused a certificate for %s, asked for by %s", _GROUP, attributes.user.name)
        raise attributes.forbidden(f"use of {_SIGNER} signer with {_GROUP} group is not allowed")
