"""A route as JSON: what an operator asks for, held against the rules; and the record of the routes topic. Pure."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.errors import RequestError, shortened
from schemas.malformed import AT, UNKNOWN_MEMBER, UTF8_BOM, did_you_mean, why_not_json
from schemas.members import refuse_twins
from schemas.moves import MAX_TAKEN_BACK
from schemas.names import MAX_TENANT, is_model_name, is_version
from schemas.routes import LATEST, MAX_STICKY_KEY, STABLE, WHOLE, Pin, Route, Shadow, Sticky

MAX_BYTES: Final = 128 * 1024
MAX_VERSIONS: Final = 32
MAX_LABELS: Final = 32
MAX_PINS: Final = 1000
MAX_SHADOWS: Final = 4
MAX_EXCLUDED: Final = 1000
MAX_SHADOW_ROWS_PER_S: Final = 100_000
MAX_REVISION: Final = 2**31 - 1  # what a job's row has room for

_LABEL: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_SALT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
# A header's name as HTTP has it (RFC 9110, section 5.6.2), in lower case: names are compared so.
_SOURCE: Final = re.compile(
    r"sticky_key|record_key|header:[a-z0-9!#$%&'*+.^_`|~-]{1,64}|metadata:[^.\x00]{1,64}(\.[^.\x00]{1,64}){0,7}"
)
_NO_VERSION: Final = "must name a version: lower-case letters, digits, dots and dashes, at most 32"
_SOURCES: Final = "sticky_key, record_key, header:<name in lower case> or metadata:<name>[.<name>...]"
# What an answer holds and nobody can ask for.
_OURS: Final = ("object", "model", "revision", "rollout", "updated_at", "updated_by", "replicas")


# What an operator writes is read strictly; a record may hold more, of a newer version.
class _Sticky(Sticky, frozen=True, forbid_unknown_fields=True): ...


class _Shadow(Shadow, frozen=True, forbid_unknown_fields=True): ...


class _Pin(Pin, frozen=True, forbid_unknown_fields=True): ...


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    versions: dict[str, Any]
    default: str | None = None
    labels: dict[str, str] = {}
    sticky: _Sticky = _Sticky()
    salt: str | None = None
    shadow: tuple[_Shadow, ...] = ()
    pins: tuple[_Pin, ...] = ()
    rescue: bool = False
    taken_back: tuple[str, ...] = ()


class WantedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants of a model's route, all its rules kept. `salt` is None for the one before, which is the
    model's name at first: so keys stay where they are."""

    versions: dict[str, int]
    default: str
    labels: dict[str, str] = {}
    sticky: Sticky = Sticky()
    salt: str | None = None
    shadow: tuple[Shadow, ...] = ()
    pins: tuple[Pin, ...] = ()
    rescue: bool = False
    taken_back: tuple[str, ...] = ()

    def as_route(
        self, before: Route | None, *, model: str, revision: int, updated_at: datetime, updated_by: str
    ) -> Route:
        """The route with this revision, in the stead of the one `before`."""
        salt = self.salt or (before.salt if before is not None else model)
        return Route(
            model=model,
            revision=revision,
            salt=salt,
            updated_at=updated_at,
            updated_by=updated_by,
            **{name: getattr(self, name) for name in self.__struct_fields__ if name != "salt"},
        )


_document_decoder: Final = msgspec.json.Decoder(_Document)
_record_decoder: Final = msgspec.json.Decoder(Route)
# On a record without a value, which takes the route away: the revision that did.
TAKEN_AWAY_BY: Final = "ce_routerevision"
_REVISION: Final = re.compile(rb"[1-9][0-9]{0,9}")
_encoder: Final = msgspec.json.Encoder()


def read_route(raw: bytes) -> WantedRoute:
    """The route that an operator asks for. Raises `RequestError` naming the member and its rule."""
    if len(raw) > MAX_BYTES:
        raise RequestError(f"a route has at most {MAX_BYTES} bytes; this one has {len(raw)}")
    raw = raw.removeprefix(UTF8_BOM)
    try:
        document = _document_decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _no_route(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the route is not valid JSON: {why_not_json(error, raw)}") from error
    except RecursionError as error:
        raise RequestError("the route is nested too deeply") from error
    wanted = _wanted(document)
    check_route(wanted)
    refuse_twins(raw, 0)
    return wanted


def _wanted(document: _Document) -> WantedRoute:
    return WantedRoute(
        versions=document.versions,
        default=document.default or _default(document),
        labels=document.labels,
        sticky=Sticky(document.sticky.source),
        salt=document.salt,
        shadow=tuple(Shadow(**msgspec.structs.asdict(each)) for each in document.shadow),
        pins=tuple(Pin(each.version, each.tenant, each.key) for each in document.pins),
        rescue=document.rescue,
        taken_back=document.taken_back,
    )


def _default(document: _Document) -> str:
    """What is labeled stable, else the version with the largest share. Shares may be anything yet."""
    if STABLE in document.labels:
        return document.labels[STABLE]
    shares = {version: share for version, share in document.versions.items() if type(share) is int}
    return max(sorted(shares), key=lambda version: shares[version], default="")


def _no_route(error: str) -> RequestError:
    """`error` is msgspec's, of what is JSON and no route."""
    place = AT.search(error)
    where = place[1] if place else ""
    unknown = UNKNOWN_MEMBER.search(error)
    if unknown is None:
        return RequestError(f"the body is not a route: {error}", param=where or None)
    name = unknown[1][:64]
    kind = next((kind for start, kind in _INSIDE if where.startswith(start)), _Document)
    hint = did_you_mean(name, kind.__struct_fields__)
    if not where and name in _OURS:
        hint = ": the server says that, leave it out"
    at = f"{where}.{name}" if where else name
    return RequestError(f"a route has no member {at!r}{hint}", param=at)


_INSIDE: Final[tuple[tuple[str, type[msgspec.Struct]], ...]] = (
    ("sticky", _Sticky),
    ("shadow", _Shadow),
    ("pins", _Pin),
)


def check_route(route: WantedRoute | Route) -> None:
    """Raises `RequestError` naming the member and the rule that it breaks."""
    _check_shares(route.versions)
    for at, version in named_versions(route):
        if not is_version(version):
            raise _broken(at, _NO_VERSION)
    _check_labels(route.labels, route.versions)
    if route.salt is not None and not _SALT.fullmatch(route.salt):
        raise _broken("salt", "must have 1 to 64 characters, none of them a control character")
    if not _SOURCE.fullmatch(route.sticky.source):
        raise _broken("sticky.source", f"must be {_SOURCES}")
    _check_shadows(route.shadow)
    _check_pins(route.pins)
    _check_taken_back(route.taken_back)


def named_versions(route: WantedRoute | Route) -> Iterator[tuple[str, str]]:
    """Where the route names a version, and which: `labels.canary`, `2`."""
    for version in route.versions:
        yield f"versions.{version}", version
    yield "default", route.default
    for label, version in route.labels.items():
        yield f"labels.{label}", version
    for index, shadow in enumerate(route.shadow):
        yield f"shadow[{index}].version", shadow.version
    for index, pin in enumerate(route.pins):
        yield f"pins[{index}].version", pin.version


def check_announced(route: WantedRoute | Route, announced: Container[str]) -> None:
    """Raises `RequestError` where the route names a version that no worker has announced, or a label is one's name."""
    for at, version in named_versions(route):
        if version not in announced:
            raise _broken(at, f"names version {version!r}, which no worker has announced")
    for label in route.labels:
        if label in announced:
            raise _broken(f"labels.{label}", "must not be a version's name")


def encode_route(route: Route) -> bytes:
    """The value of the route's record; its key is the model's name."""
    return _encoder.encode(route)


def decode_route(value: bytes) -> Route:
    """The route in a record of the topic, of this version or a newer one, whose members are passed over.

    Raises `msgspec.DecodeError` for anything else, and `RequestError` for a route that breaks a rule.
    """
    route = _record_decoder.decode(value)
    if not is_model_name(route.model):
        raise _broken("model", "must be a model's name")
    if not 1 <= route.revision <= MAX_REVISION:
        raise _broken("revision", f"must be 1 to {MAX_REVISION}")
    check_route(route)
    return route


def taken_away_by(headers: Sequence[tuple[str, bytes]]) -> int | None:
    """The revision that took the route away, of the headers of a record without a value; None where that is not told,
    as by a version that knows no such header."""
    told = next((value for name, value in headers if name == TAKEN_AWAY_BY and value), b"")
    revision = int(told) if _REVISION.fullmatch(told) else 0
    return revision if 1 <= revision <= MAX_REVISION else None


def _check_shares(versions: Mapping[str, Any]) -> None:
    if not 1 <= len(versions) <= MAX_VERSIONS:
        raise _broken("versions", f"must name 1 to {MAX_VERSIONS} versions; {len(versions)} are named")
    for version, share in versions.items():
        if type(share) is not int or not 0 <= share <= WHOLE:
            raise _broken(f"versions.{version}", f"must be a whole number of basis points, 0 to {WHOLE}")
    total = sum(versions.values())
    if total != WHOLE:
        raise _broken("versions", f"must be {WHOLE} basis points (100 %) in all; they are {total}")


def _check_labels(labels: Mapping[str, str], versions: Mapping[str, int]) -> None:
    if len(labels) > MAX_LABELS:
        raise _broken("labels", f"must be at most {MAX_LABELS}; there are {len(labels)}")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise _broken(f"labels.{label}", "must begin with a letter: lower-case letters, digits, dashes, at most 32")
        if label == LATEST:
            raise _broken(f"labels.{label}", "cannot be set: it is always the highest version")
        if label in versions:
            raise _broken(f"labels.{label}", "must not be a version's name")


def _check_shadows(shadows: tuple[Shadow, ...]) -> None:
    if len(shadows) > MAX_SHADOWS:
        raise _broken("shadow", f"must be at most {MAX_SHADOWS}; there are {len(shadows)}")
    seen = set()
    for index, shadow in enumerate(shadows):
        at = f"shadow[{index}]"
        if shadow.version in seen:
            raise _broken(f"{at}.version", f"is a shadow once more: {shadow.version}")
        seen.add(shadow.version)
        if not 0 <= shadow.rate <= 1:
            raise _broken(f"{at}.rate", "must be 0 to 1: the share of the jobs that is copied")
        if not 0 < shadow.rows_per_s <= MAX_SHADOW_ROWS_PER_S:
            raise _broken(f"{at}.rows_per_s", f"must be above 0, and at most {MAX_SHADOW_ROWS_PER_S}")
        if not 0 < shadow.device_share <= 1:
            raise _broken(f"{at}.device_share", "must be above 0, and at most 1: the share of a device's time")
        if len(shadow.exclude_tenants) > MAX_EXCLUDED:
            raise _broken(f"{at}.exclude_tenants", f"must be at most {MAX_EXCLUDED}")
        if not all(0 < len(tenant) <= MAX_TENANT and "\0" not in tenant for tenant in shadow.exclude_tenants):
            raise _broken(f"{at}.exclude_tenants", f"must have 1 to {MAX_TENANT} characters each, none of them NUL")


def _check_pins(pins: tuple[Pin, ...]) -> None:
    if len(pins) > MAX_PINS:
        raise _broken("pins", f"must be at most {MAX_PINS}; there are {len(pins)}")
    seen = set()
    for index, pin in enumerate(pins):
        at = f"pins[{index}]"
        if (pin.tenant is None) == (pin.key is None):
            raise _broken(at, "must have exactly one of tenant and key")
        name, text, longest = (
            ("key", pin.key, MAX_STICKY_KEY) if pin.tenant is None else ("tenant", pin.tenant, MAX_TENANT)
        )
        if text is None or not 0 < len(text) <= longest or "\0" in text:
            raise _broken(f"{at}.{name}", f"must have 1 to {longest} characters, none of them NUL")
        if (name, text) in seen:
            raise _broken(f"{at}.{name}", f"is pinned once more: {text[:64]!r}")
        seen.add((name, text))


def _check_taken_back(taken_back: tuple[str, ...]) -> None:
    if len(taken_back) > MAX_TAKEN_BACK:
        raise _broken("taken_back", f"must be at most {MAX_TAKEN_BACK} versions; there are {len(taken_back)}")
    for index, version in enumerate(taken_back):
        if not is_version(version):
            raise _broken(f"taken_back[{index}]", _NO_VERSION)


def _broken(at: str, rule: str) -> RequestError:
    at = shortened(at, 80)
    return RequestError(f"{at} {rule}", param=at)
