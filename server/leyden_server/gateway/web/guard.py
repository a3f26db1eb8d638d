"""Which requests are let in at all: those that the page itself makes, or no page.

A browser sends what any page asks it to, also to servers on its own machine. What it always says is
which host it means (Host) and which page asks (Origin). A page elsewhere whose name leads to this
machine (DNS rebinding) has the wrong Host; one that simply calls has the wrong Origin.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from leyden_server.gateway.web.exchange import Scope

__all__ = ["SECURITY_HEADERS", "Guard"]

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cache-control", b"no-store"),
)
"""Of each response; whoever answers may say something else of caching."""

DEFAULT_PORTS = {"http": 80, "https": 443}


class Guard:
    """Looks at Host and Origin."""

    def __init__(self, host: str, names: Iterable[str]) -> None:
        """`host` is what the door listens at, and `names` others that it is reached by."""
        self._names = {_bare(host), *(_bare(name) for name in names)}

    def refusal(self, scope: Scope) -> str:
        """Return why a request is not let in; empty: it is."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return "one Host header is needed"
        host = hosts[0].decode("latin-1")
        named = _split(f"//{host}")
        if named is None or not self._is_ours(named[0], scope):
            return (
                "this server is not known by the Host that the request names; "
                "gateway.web_hosts lists further names of it"
            )
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if origins and not all(_is_same(origin.decode("latin-1"), host) for origin in origins):
            return "requests of pages of another origin are not answered"
        return ""

    def _is_ours(self, host: str, scope: Scope) -> bool:
        if host in self._names:
            return True
        reached = scope.get("server")
        if reached is None:
            return False
        address = _bare(str(reached[0]))
        # Beyond loopback a name may be anybody's; an address is where the request arrived.
        return host == address or (host == "localhost" and _is_loopback(address))


def _is_same(origin: str, host: str) -> bool:
    """Return whether an Origin is that of pages that `host` serves.

    A proxy may have taken TLS away, so either scheme may be the page's.
    """
    scheme = origin.partition("://")[0]
    if scheme not in DEFAULT_PORTS:
        return False  # "null", say
    asks, serves = _split(origin), _split(f"//{host}")
    if asks is None or serves is None:
        return False
    default = DEFAULT_PORTS[scheme]
    return (asks[0], asks[1] or default) == (serves[0], serves[1] or default)


def _split(url: str) -> tuple[str, int | None] | None:
    """Return host and port; None: it is something else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return _bare(parts.hostname), port


def _bare(host: str) -> str:
    """Return a host as it is compared: an address in its shortest form, a name in lower case."""
    bare = host.strip("[]").lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return bare
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
