"""Zipkin's structures, which Thrift's protocols can write and read.

Each has fields by number; those that are None are not written.
"""

from __future__ import annotations

from typing import Any

# Types of Thrift's wire format.
_STOP = 0
_BOOL = 2
_I16 = 6
_I32 = 8
_I64 = 10
_STRING = 11
_STRUCT = 12
_LIST = 15


class AnnotationType:
    """What the value of a `BinaryAnnotation` is."""

    BOOL = 0
    BYTES = 1
    I16 = 2
    I32 = 3
    I64 = 4
    DOUBLE = 5
    STRING = 6


class _Struct:
    #: Number, name, type; and the class, of a structure or of those in a list.
    _fields: tuple[tuple[Any, ...], ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = [field[1] for field in self._fields]
        if len(args) > len(names):
            raise TypeError(f"at most {len(names)} arguments")
        values = {**dict.fromkeys(names), **dict(zip(names, args))}
        for name, value in kwargs.items():
            if name not in values:
                raise TypeError(f"unexpected argument {name!r}")
            values[name] = value
        vars(self).update(values)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({fields})"

    def write(self, oprot: Any) -> None:
        """Write it by a protocol of Thrift's."""
        oprot.writeStructBegin(type(self).__name__)
        for number, name, kind, *_ in self._fields:
            value = getattr(self, name)
            if value is not None:
                oprot.writeFieldBegin(name, kind, number)
                _write(oprot, kind, value)
                oprot.writeFieldEnd()
        oprot.writeFieldStop()
        oprot.writeStructEnd()

    def read(self, iprot: Any) -> None:
        """Read it by a protocol of Thrift's; unknown fields are skipped."""
        fields = {field[0]: field for field in self._fields}
        iprot.readStructBegin()
        while True:
            _, kind, number = iprot.readFieldBegin()
            if kind == _STOP:
                break
            field = fields.get(number)
            if field is None or field[2] != kind:
                iprot.skip(kind)
            else:
                setattr(self, field[1], _read(iprot, kind, *field[3:]))
            iprot.readFieldEnd()
        iprot.readStructEnd()


def _write(oprot: Any, kind: int, value: Any) -> None:
    if kind == _STRUCT:
        value.write(oprot)
    elif kind == _LIST:
        oprot.writeListBegin(_STRUCT, len(value))
        for item in value:
            item.write(oprot)
        oprot.writeListEnd()
    elif kind == _STRING:
        if isinstance(value, str):
            value = value.encode()
        oprot.writeBinary(value)
    else:
        write = {
            _BOOL: oprot.writeBool,
            _I16: oprot.writeI16,
            _I32: oprot.writeI32,
            _I64: oprot.writeI64,
        }
        write[kind](int(value))


def _read(iprot: Any, kind: int, cls: Any = None) -> Any:
    if kind == _STRUCT:
        value = cls()
        value.read(iprot)
        return value
    if kind == _LIST:
        _, count = iprot.readListBegin()
        items = [_read(iprot, _STRUCT, cls) for _ in range(count)]
        iprot.readListEnd()
        return items
    if kind == _STRING:
        data = iprot.readBinary()
        return data if cls is bytes else data.decode()
    read = {
        _BOOL: iprot.readBool,
        _I16: iprot.readI16,
        _I32: iprot.readI32,
        _I64: iprot.readI64,
    }
    return read[kind]()


class Endpoint(_Struct):
    """Where a service is."""

    _fields = (
        (1, "ipv4", _I32),
        (2, "port", _I16),
        (3, "service_name", _STRING),
    )


class Annotation(_Struct):
    """That something happened, at a time in microseconds."""

    _fields = (
        (1, "timestamp", _I64),
        (2, "value", _STRING, bytes),
        (3, "host", _STRUCT, Endpoint),
    )


class BinaryAnnotation(_Struct):
    """A value with a name."""

    _fields = (
        (1, "key", _STRING),
        (2, "value", _STRING, bytes),
        (3, "annotation_type", _I32),
        (4, "host", _STRUCT, Endpoint),
    )


class Span(_Struct):
    """One call of a trace."""

    _fields = (
        (1, "trace_id", _I64),
        (3, "name", _STRING),
        (4, "id", _I64),
        (5, "parent_id", _I64),
        (6, "annotations", _LIST, Annotation),
        (8, "binary_annotations", _LIST, BinaryAnnotation),
    )
