"""Syntax of names: DNS labels and subdomains, qualified keys, label values, ports. Pure predicates with upstream's words.

Who calls it: the API server's `metadata.py` and per-kind checks, CEL.
Invariant: every function returns "" when the value is good, otherwise the sentence that follows `Invalid value: "x": `.
Upstream: staging/src/k8s.io/apimachinery/pkg/util/validation/validation.go.
"""

import ipaddress
import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_RE = re.compile(_LABEL)
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_SUBDOMAIN_RE = re.compile(_SUBDOMAIN)
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035_RE = re.compile(_LABEL_1035)
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_QUALIFIED_RE = re.compile(_QUALIFIED)
_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_VALUE_RE = re.compile(_VALUE)
_CONFIG_KEY_RE = re.compile("[-._a-zA-Z0-9]+")
_ENV_RE = re.compile("[ -<>-~]+")
_PORT_NAME_RE = re.compile("[-a-z0-9]+")


def _regex_error(message: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}'" for example in examples)
    text = f"(e.g. {shown}, regex used for validation is '{pattern}')" if shown else ""
    return f"{message} {text}" if text else f"{message} (regex used for validation is '{pattern}')"


def label(value: str) -> str:
    """RFC 1123 label: lowercase letters, digits, '-'; at most 63."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    if _LABEL_RE.fullmatch(value):
        return ""
    return _regex_error(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
        "an alphanumeric character",
        _LABEL, "my-name", "123-abc",
    )  # fmt: skip


def subdomain(value: str) -> str:
    """RFC 1123 subdomain: labels joined by dots; at most 253."""
    if len(value) > 253:
        return "must be no more than 253 characters"
    if _SUBDOMAIN_RE.fullmatch(value):
        return ""
    return _regex_error(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
        "end with an alphanumeric character",
        _SUBDOMAIN, "example.com",
    )  # fmt: skip


def label_1035(value: str) -> str:
    """RFC 1035 label, which Services use: as `label`, but it starts with a letter."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    if _LABEL_1035_RE.fullmatch(value):
        return ""
    return _regex_error(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
        "and end with an alphanumeric character",
        _LABEL_1035, "my-name", "abc-123",
    )  # fmt: skip


def path_segment(value: str) -> str:
    """Names of RBAC objects and the like: anything that is one path segment."""
    if value in (".", ".."):
        return f"may not be '{value}'"
    for bad in ("/", "%"):
        if bad in value:
            return f"may not contain '{bad}'"
    return ""


def qualified(value: str) -> str:
    """A label or annotation key: [prefix/]name."""
    prefix, slash, name = value.rpartition("/")
    if slash and not prefix:
        return "prefix part must be non-empty"
    if slash and "/" in prefix:
        return _regex_error(
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character",
            _QUALIFIED, "MyName", "my.name", "123-abc",
        ) + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"  # fmt: skip
    if prefix and (problem := subdomain(prefix)):
        return f"prefix part {problem}"
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    if _QUALIFIED_RE.fullmatch(name):
        return ""
    return "name part " + _regex_error(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        _QUALIFIED, "MyName", "my.name", "123-abc",
    )  # fmt: skip


def label_value(value: str) -> str:
    """A label's value: at most 63 characters, may be empty."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    if _VALUE_RE.fullmatch(value):
        return ""
    return _regex_error(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
        "end with an alphanumeric character",
        _VALUE, "MyValue", "my_value", "12345",
    )  # fmt: skip


def config_key(value: str) -> str:
    """A key of a ConfigMap or Secret."""
    if len(value) > 253:
        return "must be no more than 253 characters"
    if not _CONFIG_KEY_RE.fullmatch(value):
        return _regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+", "key.name", "KEY_NAME", "key-name",
        )  # fmt: skip
    if value in (".", ".."):
        return f"must not be '{value}'"
    return "must not start with '..'" if value.startswith("..") else ""


def env_name(value: str) -> str:
    """A variable's name: printable ASCII without '=' (the relaxed rule of current releases)."""
    if _ENV_RE.fullmatch(value):
        return ""
    return "a valid environment variable name must consist only of printable ASCII characters other than '='"


def port_number(value: int) -> str:
    return "" if 1 <= value <= 65535 else "must be between 1 and 65535, inclusive"


def port_name(value: str) -> str:
    """An IANA service name as used for container and target ports."""
    if len(value) > 15:
        return "must be no more than 15 characters"
    if not _PORT_NAME_RE.fullmatch(value):
        return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not any(char.isalpha() for char in value):
        return "must contain at least one letter (a-z)"
    if "--" in value:
        return "must not contain consecutive hyphens"
    if value[0] == "-" or value[-1] == "-":
        return "must not begin or end with a hyphen"
    return ""


def ip(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    return ""


def cidr(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
    return "" if "/" in value else "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
