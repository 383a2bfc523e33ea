"""Which representation a request asks for: the `format` parameter, else the Accept header.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/, IPIP-412 (parameters of CARs), IPIP-523
(the query wins over Accept) and IPIP-524 (no conversion between codecs).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pinfold.door import BadRequest
from pinfold.gateway.ranges import Entity, entity_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinfold.door import Request

RAW_TYPE: Final = "application/vnd.ipld.raw"
CAR_TYPE: Final = "application/vnd.ipld.car"
RECORD_TYPE: Final = "application/vnd.ipfs.ipns-record"
# Codecs of documents: such a block is handed out as it lies, under its own type only.
DOCUMENTS: Final = {
    0x71: ("dag-cbor", "application/vnd.ipld.dag-cbor"),
    0x0129: ("dag-json", "application/vnd.ipld.dag-json"),
    0x51: ("cbor", "application/cbor"),
    0x0200: ("json", "application/json"),
}
_TYPES: Final = {"raw": RAW_TYPE, "car": CAR_TYPE, "ipns-record": RECORD_TYPE} | dict(DOCUMENTS.values())
_FORMATS: Final = {kind: name for name, kind in _TYPES.items()}
_MOST_TYPES: Final = 64
_MOST_ACCEPT: Final = 8192


class Scope(StrEnum):
    """How much of a DAG a CAR holds below the end of the path."""

    BLOCK = "block"
    ENTITY = "entity"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class CarOptions:
    """What is asked of a CAR.  The order is depth first, whatever is asked: it is good for `unk` too."""

    scope: Scope = Scope.ALL
    entity: Entity | None = None
    dups: bool = False

    @property
    def content_type(self) -> str:
        """The type of the answer, with every parameter known."""
        return f"{CAR_TYPE}; version=1; order=dfs; dups={'y' if self.dups else 'n'}"


@dataclass(frozen=True, slots=True)
class Format:
    """What is asked for: `name` as in `format=`, empty for files and pages; `car` holds a CAR's options.

    `explicit`: the query says so itself, so the address alone names the answer.
    """

    name: str = ""
    car: CarOptions = CarOptions()
    explicit: bool = False


def wanted(request: Request) -> Format:
    """Return what the request asks for.  Raises BadRequest 400 or 406."""
    name = request.option("format")
    accepted = _accepted(request.header("accept"))
    if name:
        if name not in _TYPES:
            raise BadRequest(406, f"format {name[:40]!r} is not served; ask for {', '.join(sorted(_TYPES))}, or none")
        same = next((parameters for kind, parameters in accepted if kind == _TYPES[name]), {})
        return Format(name, _car(request, same) if name == "car" else CarOptions(), explicit=True)
    refusal: BadRequest | None = None
    for kind, parameters in accepted:
        try:
            return Format(_FORMATS[kind], _car(request, parameters) if kind == CAR_TYPE else CarOptions())
        except BadRequest as error:  # the client may accept another variant
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return Format()


def _accepted(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the types of IPFS that an Accept header names, the best liked first, with their parameters."""
    if len(header) > _MOST_ACCEPT or header.count(",") >= _MOST_TYPES:
        raise BadRequest(400, "Accept is too long")
    found: list[tuple[float, str, dict[str, str]]] = []
    for one in header.split(","):
        kind, *rest = (part.strip() for part in one.split(";"))
        kind = kind.lower()
        # Plain JSON and CBOR stand in the Accept of many programs that know nothing of IPFS.
        if kind.startswith("application/vnd.ip") and kind not in _FORMATS:
            if kind.startswith(("application/vnd.ipld.", "application/vnd.ipfs.")):
                raise BadRequest(406, f"{kind[:60]} is not served")
        elif kind.startswith("application/vnd.ip"):
            parameters = {
                key.strip().lower(): value.strip(' "') for key, _, value in (part.partition("=") for part in rest)
            }
            found.append((_weight(parameters.pop("q", "1")), kind, parameters))
    found.sort(key=lambda one: -one[0])
    return [(kind, parameters) for weight, kind, parameters in found if weight > 0]


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        raise BadRequest(400, "a weight in Accept is no number") from None
    if not 0 <= weight <= 1:
        raise BadRequest(400, "a weight in Accept is not between 0 and 1")
    return weight


def _car(request: Request, accepted: Mapping[str, str]) -> CarOptions:
    def parameter(name: str) -> str:
        return request.option(f"car-{name}") or accepted.get(name, "")

    if parameter("version") not in {"", "1"}:
        raise BadRequest(400, "only version 1 of CAR is served")
    if parameter("order") not in {"", "dfs", "unk"}:
        raise BadRequest(400, "the order of a CAR is dfs or unk")
    if parameter("dups") not in {"", "y", "n"}:
        raise BadRequest(400, "the dups of a CAR are y or n")
    span = request.option("entity-bytes")
    entity = entity_bytes(span) if span is not None else None
    scope = request.option("dag-scope")
    if scope is None:
        scope = Scope.ALL if entity is None else Scope.ENTITY
    if scope not in set(Scope):
        raise BadRequest(400, "dag-scope is block, entity or all")
    return CarOptions(Scope(scope), entity if scope == Scope.ENTITY else None, dups=parameter("dups") == "y")
