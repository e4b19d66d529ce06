"""Names of hosts by dnspython, without blocking other green threads.

Of dnspython itself, ``dns.query.udp`` and ``dns.query.tcp`` are replaced by
those here, and its resolver sleeps in the hub: what else uses dnspython in
this process is green as well.

The file of hosts comes first, then the nameservers of ``/etc/resolv.conf``.
Addresses, and names of services, are the business of the system's own
``getaddrinfo()``, which then asks nobody.
"""

from __future__ import annotations

import re
import struct
from time import monotonic
from typing import Any, NoReturn

import dns.exception
import dns.flags
import dns.inet
import dns.ipv4
import dns.ipv6
import dns.message
import dns.name
import dns.query
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.PTR
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.resolver
import dns.reversename
import dns.rrset

import dns

from ..green import _socket_nodns, os, time

socket: Any = _socket_nodns

#: Seconds.
DNS_QUERY_TIMEOUT = 10.0
#: After so many seconds the file of hosts is read again.
HOSTS_TTL = 10.0

EAI_EAGAIN_ERROR = socket.gaierror(socket.EAI_AGAIN, "Lookup timed out")
EAI_NONAME_ERROR = socket.gaierror(
    socket.EAI_NONAME, "Name or service not known"
)
EAI_NODATA_ERROR = EAI_NONAME_ERROR
if os.environ.get("EVENTLET_DEPRECATED_EAI_NODATA", "").lower() in (
    "1",
    "y",
    "yes",
) and hasattr(socket, "EAI_NODATA"):
    EAI_NODATA_ERROR = socket.gaierror(
        socket.EAI_NODATA, "No address associated with hostname"
    )

_A = dns.rdatatype.A
_AAAA = dns.rdatatype.AAAA
_CNAME = dns.rdatatype.CNAME
_IN = dns.rdataclass.IN


def _raise_new_error(error_instance: Any) -> NoReturn:
    """Raise one like it: that one itself would keep each traceback."""
    raise error_instance.__class__(*error_instance.args)


def _raise_gaierror(exc: Any) -> NoReturn:
    """Raise what getaddrinfo() would, for an error of dnspython's."""
    if isinstance(exc, dns.exception.Timeout):
        _raise_new_error(EAI_EAGAIN_ERROR)
    _raise_new_error(EAI_NODATA_ERROR)


def _parses(parse: Any, host: Any) -> bool:
    if not isinstance(host, str):
        return False
    try:
        parse(host)
    except dns.exception.SyntaxError:
        return False
    return True


def is_ipv4_addr(host: Any) -> bool:
    """Whether it is the text of an IPv4 address."""
    return _parses(dns.ipv4.inet_aton, host)


def is_ipv6_addr(host: Any) -> bool:
    """Whether it is the text of an IPv6 address, maybe with a scope."""
    if isinstance(host, str):
        host = host.split("%", 1)[0]
    return _parses(dns.ipv6.inet_aton, host)


def is_ip_addr(host: Any) -> bool:
    """Whether it is the text of an address."""
    return is_ipv4_addr(host) or is_ipv6_addr(host)


# --- the file of hosts -------------------------------------------------------


class HostsAnswer(dns.resolver.Answer):
    """An answer from the file of hosts, as one of a nameserver."""

    def __init__(
        self,
        qname: Any,
        rdtype: Any,
        rdclass: Any,
        rrset: Any,
        raise_on_no_answer: bool = True,
    ) -> None:
        self.response = None
        self.qname = self.canonical_name = qname
        self.rdtype = rdtype
        self.rdclass = rdclass
        if raise_on_no_answer and not rrset:
            raise dns.resolver.NoAnswer
        self.rrset = rrset
        ttl = getattr(rrset, "ttl", None)
        self.expiration = 0 if ttl is None else time.time() + ttl


class HostsResolver:
    """Answers what a file of hosts says.

    :param fname: the file; by default the system's.
    :param interval: seconds after which it is read again.
    """

    LINES_RE = re.compile(
        r"""
        [ \t\f\v]*
        ([^\r\n#]*?)            # what counts
        [ \t\f\v]*
        (?:\#[^\r\n]*)?         # a comment
        (?:$|[\r\n]+)
        """,
        re.VERBOSE,
    )

    def __init__(
        self, fname: str | None = None, interval: float = HOSTS_TTL
    ) -> None:
        self._v4: dict[str, str] = {}
        self._v6: dict[str, str] = {}
        #: Canonical names, by aliases.
        self._aliases: dict[str, str] = {}
        self.interval = interval
        self.fname = "/etc/hosts" if fname is None else fname
        self._last_load = 0.0
        if self.fname:
            self._load()

    def _readlines(self) -> Any:
        """What there is in its lines, without comments."""
        try:
            with open(self.fname, "rb") as file:
                data = file.read()
        except OSError:
            return []
        return filter(
            None, self.LINES_RE.findall(data.decode(errors="ignore"))
        )

    def _load(self) -> None:
        """Read the file."""
        lines = list(self._readlines())
        for known in (self._v4, self._v6, self._aliases):
            known.clear()
        for line in lines:
            address, *names = line.split()
            if is_ipv4_addr(address):
                addresses = self._v4
            elif is_ipv6_addr(address) and not address.startswith("fe80"):
                addresses = self._v6
            else:
                continue
            names = [name.lower() for name in names]
            for name in names:
                addresses[name] = address
            for alias in names[1:]:
                self._aliases[alias] = names[0]
        self._last_load = time.time()

    def query(
        self,
        qname: Any,
        rdtype: Any = _A,
        rdclass: Any = _IN,
        tcp: bool = False,
        source: Any = None,
        raise_on_no_answer: bool = True,
    ) -> HostsAnswer:
        """Answer for a name: A, AAAA, CNAME; NoAnswer is raised for others.

        :param tcp: ignored, as are `rdclass` and `source`.
        """
        now = time.time()
        if self._last_load + self.interval < now:
            self._load()
        if isinstance(qname, bytes):
            qname = qname.decode("ascii")
        name = str(qname).lower()
        if isinstance(qname, str):
            qname = dns.name.from_text(qname)
        rrset = dns.rrset.RRset(qname, _IN, rdtype)
        rrset.ttl = self._last_load + self.interval - now
        table, make = {
            _A: (self._v4, dns.rdtypes.IN.A.A),
            _AAAA: (self._v6, dns.rdtypes.IN.AAAA.AAAA),
            _CNAME: (self._aliases, _make_cname),
        }.get(rdtype, ({}, None))
        found = table.get(name)
        if found is None and name.endswith("."):
            found = table.get(name[:-1])
        if found is not None:
            rrset.add(make(_IN, rdtype, found))
        return HostsAnswer(qname, rdtype, _IN, rrset, raise_on_no_answer)

    def getaliases(self, hostname: str) -> list[str]:
        """Other names of a host."""
        canonical = self._aliases.get(hostname, hostname)
        names = [canonical] + [
            alias for alias, name in self._aliases.items() if name == canonical
        ]
        names.remove(hostname)
        return names


def _make_cname(rdclass: Any, rdtype: Any, target: str) -> Any:
    return dns.rdtypes.ANY.CNAME.CNAME(
        rdclass, rdtype, dns.name.from_text(target)
    )


# --- the resolver ------------------------------------------------------------


class ResolverProxy:
    """Answers what the file of hosts says, or else nameservers.

    :param hosts_resolver: answers first; or None.
    :param filename: says which nameservers there are. It is read when they
        are first needed.
    """

    def __init__(
        self,
        hosts_resolver: HostsResolver | None = None,
        filename: str | None = "/etc/resolv.conf",
    ) -> None:
        self._hosts = hosts_resolver
        self._filename = filename
        self._cached_resolver: Any = None

    @property
    def _resolver(self) -> Any:
        if self._cached_resolver is None:
            self.clear()
        return self._cached_resolver

    @_resolver.setter
    def _resolver(self, value: Any) -> None:
        self._cached_resolver = value

    def clear(self) -> None:
        """Forget all answers, and read which nameservers there are."""
        resolver = dns.resolver.Resolver(filename=self._filename)
        resolver.cache = dns.resolver.LRUCache()
        self._resolver = resolver

    def query(
        self,
        qname: Any,
        rdtype: Any = _A,
        rdclass: Any = _IN,
        tcp: bool = False,
        source: Any = None,
        raise_on_no_answer: bool = True,
        _hosts_rdtypes: Any = (_A, _AAAA),
        use_network: bool = True,
    ) -> Any:
        """Answer for a name.

        A name without a dot is looked up in the domains that are searched,
        and as one below the root as well.

        :param use_network: False: ask no nameservers.
        """
        if qname is None:
            qname = "0.0.0.0"
        if isinstance(qname, (str, bytes)):
            if isinstance(qname, bytes):
                qname = qname.decode("ascii")
            qname = dns.name.from_text(qname, None)
        asked = _Answers(qname, raise_on_no_answer)
        if self._hosts and rdclass == _IN and rdtype in _hosts_rdtypes:
            is_known = asked.ask(
                self._hosts.query, qname, rdtype, raise_on_no_answer=False
            )
            if is_known and (asked.answer is not None or not use_network):
                return asked.result()
        names = [qname]
        if len(qname) == 1:
            names.append(qname.concatenate(dns.name.root))
        for name in names:
            asked.ask(
                self._resolver.query,
                name,
                rdtype,
                rdclass,
                tcp,
                source,
                raise_on_no_answer=False,
            )
        return asked.result()

    def getaliases(self, hostname: Any) -> list[str]:
        """Other names of a host."""
        aliases = self._hosts.getaliases(hostname) if self._hosts else []
        while True:
            try:
                answer = self._resolver.query(hostname, _CNAME)
            except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
                return aliases
            aliases.extend(str(record.target) for record in answer.rrset)
            hostname = answer[0].target


class _Answers:
    """What several who were asked for a name have said, as one answer."""

    def __init__(self, qname: Any, raise_on_no_answer: bool) -> None:
        self.qname = qname
        self.raises = raise_on_no_answer
        self.answer: Any = None
        self.error: Any = None

    def ask(self, query: Any, *args: Any, **kwargs: Any) -> bool:
        """False if it failed."""
        try:
            answer = query(*args, **kwargs)
        except Exception as exc:
            self.error = exc
            return False
        if answer.rrset is not None and len(answer.rrset):
            if self.answer is None:
                self.answer = answer
            else:
                self.answer.rrset.union_update(answer.rrset)
        return True

    def result(self) -> Any:
        if self.answer is not None:
            return self.answer
        error, self.error = self.error, None
        if error is not None and (
            self.raises or not isinstance(error, dns.resolver.NoAnswer)
        ):
            raise error
        raise dns.resolver.NXDOMAIN(qnames=(self.qname,))


resolver = ResolverProxy(hosts_resolver=HostsResolver())


def resolve(
    name: Any,
    family: Any = socket.AF_INET,
    raises: bool = True,
    _proxy: Any = None,
    use_network: bool = True,
) -> Any:
    """The answer for a name; its `rrset` has the addresses.

    :param raises: whether there being none is an error.
    :param use_network: False: only what the file of hosts says.
    """
    try:
        rdtype = {socket.AF_INET: _A, socket.AF_INET6: _AAAA}[family]
    except KeyError:
        raise socket.gaierror(
            socket.EAI_FAMILY, "Address family not supported"
        ) from None
    proxy = resolver if _proxy is None else _proxy
    try:
        return proxy.query(
            name, rdtype, raise_on_no_answer=raises, use_network=use_network
        )
    except dns.resolver.NXDOMAIN as exc:
        if raises:
            _raise_gaierror(exc)
        if isinstance(name, bytes):
            name = name.decode("ascii")
        return HostsAnswer(dns.name.from_text(name), rdtype, _IN, None, False)
    except dns.exception.DNSException as exc:
        _raise_gaierror(exc)


def resolve_cname(host: Any) -> Any:
    """The canonical name of a host."""
    try:
        answer = resolver.query(host, _CNAME)
    except dns.resolver.NoAnswer:
        return host
    except dns.exception.DNSException as exc:
        _raise_gaierror(exc)
    return str(answer[0].target)


def getaliases(host: Any) -> Any:
    """Other names of a host."""
    try:
        return resolver.getaliases(host)
    except dns.exception.DNSException as exc:
        _raise_gaierror(exc)


# --- the functions of socket -------------------------------------------------


def _addresses(answer: Any) -> list[str]:
    return [record.address for record in answer.rrset or ()]


def _getaddrinfo_lookup(
    host: str, family: int, flags: int
) -> tuple[str, list[str]]:
    """The full name of a host, and its addresses."""
    if flags & socket.AI_NUMERICHOST:
        _raise_new_error(EAI_NONAME_ERROR)
    if family == socket.AF_UNSPEC:
        return _lookup_both(host)
    answer = resolve(host, family, False)
    found = _addresses(answer)
    if family == socket.AF_INET6 and flags & socket.AI_V4MAPPED:
        if not found or flags & socket.AI_ALL:
            answer = resolve(host, socket.AF_INET, False)
            mapped = _addresses(answer)
            if mapped:
                found = ["::ffff:" + address for address in mapped]
    return str(answer.qname), found


def _lookup_both(host: str) -> tuple[str, list[str]]:
    error = answer = None
    for use_network in (False, True):
        found = []
        for family in (socket.AF_INET6, socket.AF_INET):
            try:
                answer = resolve(host, family, False, use_network=use_network)
            except socket.gaierror as exc:
                if exc.errno not in (
                    socket.EAI_AGAIN,
                    EAI_NONAME_ERROR.errno,
                    EAI_NODATA_ERROR.errno,
                ):
                    raise
                error = exc
            else:
                found += _addresses(answer)
        if found:
            return str(answer.qname), found
    if error is not None:
        try:
            raise error
        finally:
            error = None  # it refers to this frame
    return str(answer.qname), []


def getaddrinfo(
    host: Any,
    port: Any,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> Any:
    """As :func:`socket.getaddrinfo`."""
    if isinstance(host, str):
        host = host.encode("idna").decode("ascii")
    elif isinstance(host, bytes):
        host = host.decode("ascii")
    qname, found = host, [host]
    if host is not None and not is_ip_addr(host):
        qname, found = _getaddrinfo_lookup(host, family, flags)
    # Nobody is asked again, and the canonical name is not to be the address.
    numeric = (flags | socket.AI_NUMERICHOST) & ~socket.AI_CANONNAME
    res = []
    error = None
    for address in found:
        try:
            res += socket.getaddrinfo(
                address, port, family, type, proto, numeric
            )
        except OSError as exc:
            if not flags & socket.AI_ADDRCONFIG:
                raise
            error = exc
    if not res:
        try:
            raise error or socket.gaierror(
                socket.EAI_NONAME, "No address found"
            )
        finally:
            error = None  # it refers to this frame
    if flags & socket.AI_CANONNAME:
        if not is_ip_addr(qname):
            qname = resolve_cname(qname).encode("ascii").decode("idna")
        res[0] = (*res[0][:3], qname, res[0][4])
    return res


def gethostbyname(hostname: Any) -> Any:
    """As :func:`socket.gethostbyname`."""
    if is_ipv4_addr(hostname):
        return hostname
    return resolve(hostname)[0].address


def gethostbyname_ex(hostname: Any) -> Any:
    """As :func:`socket.gethostbyname_ex`."""
    if is_ipv4_addr(hostname):
        return hostname, [], [hostname]
    answer = resolve(hostname)
    aliases = getaliases(hostname)
    return (
        str(answer.qname).removesuffix("."),
        aliases,
        [record.address for record in answer.rrset],
    )


def getnameinfo(sockaddr: Any, flags: int) -> Any:
    """As :func:`socket.getnameinfo`, for IPv4."""
    if not isinstance(sockaddr, tuple):
        del sockaddr  # callers may count who refers to it
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    if len(sockaddr) != 2 or (
        flags & socket.NI_NAMEREQD and flags & socket.NI_NUMERICHOST
    ):
        _raise_new_error(EAI_NONAME_ERROR)
    host, port = sockaddr
    if is_ipv4_addr(host):
        return _name_of(host, flags), port
    try:
        records = resolver.query(host)
    except dns.exception.Timeout:
        _raise_new_error(EAI_EAGAIN_ERROR)
    except dns.exception.DNSException:
        raise socket.gaierror(
            socket.EAI_NODATA, "No address associated with hostname"
        ) from None
    _check_single(records)
    if flags & socket.NI_NUMERICHOST:
        host = records[0].address
    if not flags & socket.NI_NUMERICSERV:
        kind = "udp" if flags & socket.NI_DGRAM else "tcp"
        port = socket.getservbyport(port, kind)
    return host, port


def _check_single(records: Any) -> None:
    if len(records) > 1:
        raise OSError("sockaddr resolved to multiple addresses")


def _name_of(address: str, flags: int) -> str:
    try:
        records = resolver.query(
            dns.reversename.from_address(address), dns.rdatatype.PTR
        )
    except dns.exception.DNSException as exc:
        if not flags & socket.NI_NAMEREQD:
            return address
        if isinstance(exc, dns.exception.Timeout):
            _raise_new_error(EAI_EAGAIN_ERROR)
        _raise_new_error(EAI_NONAME_ERROR)
    _check_single(records)
    name: str = records[0].target.to_text(omit_final_dot=True)
    return name


# --- asking a nameserver -----------------------------------------------------


class _Socket:
    """A socket for one question, with what is left of its time."""

    def __init__(
        self,
        kind: Any,
        where: str,
        port: int,
        af: Any,
        source: Any,
        source_port: int,
        timeout: float | None,
        sock: Any,
    ) -> None:
        if af is None:
            try:
                af = dns.inet.af_for_address(where)
            except Exception:
                af = socket.AF_INET
        self.end = None if timeout is None else monotonic() + timeout
        self.to: tuple[Any, ...] = _sockaddr(af, where, port)
        self.sock = sock or socket.socket(af, kind)
        try:
            if source is not None and sock is None:
                self.sock.bind(_sockaddr(af, source, source_port))
        except BaseException:
            self.sock.close()
            raise

    def call(self, name: str, *args: Any) -> Any:
        """Call its method `name`."""
        if self.end is not None:
            left = self.end - monotonic()
            if left <= 0:
                raise dns.exception.Timeout
            self.sock.settimeout(left)
        try:
            return getattr(self.sock, name)(*args)
        except TimeoutError:
            raise dns.exception.Timeout from None

    def read(self, count: int) -> bytes:
        """Receive so many bytes."""
        data = b""
        while len(data) < count:
            chunk = self.call("recv", count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data


def _sockaddr(af: Any, where: str, port: int) -> tuple[Any, ...]:
    if af != socket.AF_INET6:
        return where, port
    # As the kernel writes it, to be compared.
    return dns.ipv6.inet_ntoa(dns.ipv6.inet_aton(where)), port, 0, 0


def _parse(q: Any, wire: bytes, **options: Any) -> Any:
    response = dns.message.from_wire(
        wire, keyring=q.keyring, request_mac=q.mac, **options
    )
    if not q.is_response(response):
        raise dns.query.BadResponse
    return response


def udp(
    q: Any,
    where: str,
    timeout: float | None = DNS_QUERY_TIMEOUT,
    port: int = 53,
    af: Any = None,
    source: str | None = None,
    source_port: int = 0,
    ignore_unexpected: bool = False,
    one_rr_per_rrset: bool = False,
    ignore_trailing: bool = False,
    raise_on_truncation: bool = False,
    sock: Any = None,
    ignore_errors: bool = False,
) -> Any:
    """Ask a nameserver by UDP; returns its answer, as ``dns.query.udp``.

    :param af: the family of addresses; by default, that of `where`.
    :param ignore_unexpected: go on waiting if others send something.
    :param ignore_errors: go on waiting if what comes is no answer.
    """
    asked = _Socket(
        socket.SOCK_DGRAM, where, port, af, source, source_port, timeout, sock
    )
    try:
        asked.call("sendto", q.to_wire(), asked.to)
        while True:
            wire, sender = asked.call("recvfrom", 65535)
            if len(sender) == 4:
                sender = (
                    *_sockaddr(socket.AF_INET6, *sender[:2])[:2],
                    *sender[2:],
                )
            if sender != asked.to:
                if ignore_unexpected:
                    continue
                raise dns.query.UnexpectedSource(
                    f"got a response from {sender} instead of {asked.to}"
                )
            try:
                return _parse(
                    q,
                    wire,
                    one_rr_per_rrset=one_rr_per_rrset,
                    ignore_trailing=ignore_trailing,
                    raise_on_truncation=raise_on_truncation,
                )
            except dns.message.Truncated as exc:
                if not ignore_errors or q.is_response(exc.message()):
                    raise
            except Exception:
                if not ignore_errors:
                    raise
    finally:
        if sock is None:
            asked.sock.close()


def tcp(
    q: Any,
    where: str,
    timeout: float | None = DNS_QUERY_TIMEOUT,
    port: int = 53,
    af: Any = None,
    source: str | None = None,
    source_port: int = 0,
    one_rr_per_rrset: bool = False,
    ignore_trailing: bool = False,
    sock: Any = None,
) -> Any:
    """Ask a nameserver by TCP; returns its answer, as ``dns.query.tcp``."""
    asked = _Socket(
        socket.SOCK_STREAM, where, port, af, source, source_port, timeout, sock
    )
    try:
        if sock is None:
            asked.call("connect", asked.to)
        wire = q.to_wire()
        asked.call("sendall", struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", asked.read(2))
        return _parse(
            q,
            asked.read(length),
            one_rr_per_rrset=one_rr_per_rrset,
            ignore_trailing=ignore_trailing,
        )
    finally:
        if sock is None:
            asked.sock.close()


def reset() -> None:
    """Read anew which nameservers there are, and forget their answers."""
    resolver.clear()


dns.query.udp = udp
dns.query.tcp = tcp
dns.resolver.time = time
