"""A route: one rewritten call, as a route table (dialect) declares it.

Reading a route compiles it: patterns, call, templates and mapping are objects when the configuration is
accepted, so that nothing a route says can turn out wrong in the middle of a call.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from proxy.compiled import Compiled, text
from proxy.inputs import ID_PATTERN, Input
from proxy.mapping import ReplyMapping
from proxy.misfits import Misfits
from proxy.paths import CallTemplate, PathPattern
from proxy.shape import FieldPath, JsonType, Shape
from proxy.template import BUILT_IN, JsonTemplate
from proxy.units import Duration

FallbackName = Literal["stale", "kaltura", "activity", "canned"]
KalturaCall = Literal["video", "list", "search", "session"]
SUBJECT_NAMES = frozenset({"subject.discordId", "subject.username", "subject.roles"})
RESERVED = BUILT_IN | SUBJECT_NAMES
IN_REPLY = frozenset({"partnerId"})
"""What a reply mapping may ask `value` for beside the route's inputs."""
KALTURA_INPUTS: Mapping[KalturaCall, Mapping[str, Literal["string", "integer"]]] = {
    "video": {"videoId": "string"},
    "list": {"page": "integer", "pageSize": "integer"},
    "search": {"query": "string", "page": "integer", "pageSize": "integer"},
    "session": {"videoId": "string", "userId": "string"},
}
"""The inputs that a call of Kaltura is made of."""


def _compile_send(value: object) -> JsonTemplate:
    if not isinstance(value, dict):
        raise ValueError("a JSON object is wanted here")
    return JsonTemplate.compile(value)


Match = Annotated[PathPattern, Compiled(lambda value: PathPattern.parse(text(value)))]
CallText = Annotated[CallTemplate, Compiled(lambda value: CallTemplate.parse(text(value)))]
Reply = Annotated[ReplyMapping, Compiled(lambda value: ReplyMapping.compile(text(value)))]
Send = Annotated[JsonTemplate, Compiled(_compile_send, (("type", "object"),))]


_OTHERS_BREAKERS = frozenset({"token", "kaltura"})


Field_ = Annotated[FieldPath, Compiled(FieldPath.parse)]


class Route(BaseModel):
    """One rewritten call. The name is given by the table that it stands in."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(exclude=True)
    match: Match = Field(description="The client's call: GET /api/kaltura/video/{videoId}.")
    input: dict[str, Input] = Field(
        default_factory=dict, description="What the call takes from the client, by name."
    )
    call: CallText | None = Field(
        None, description="The gateway's call, below gateway.url. Absent: the gateway is not asked."
    )
    send: Send | None = Field(None, description="The JSON body of the call; {{name}} stands for a value.")
    as_: Literal["service", "user"] = Field(
        "service", alias="as", description="Whose token goes with the call."
    )
    sign: Literal["in", "out"] | None = Field(
        None,
        description="in: who gets this answer is signed in by the access_token in it. out: ends a viewer's "
        "session, and the sidecar itself answers 204.",
    )
    reply: Reply | None = Field(
        None, description="JMESPath over the gateway's answer that gives the client's."
    )
    require: tuple[Field_, ...] = Field(
        (), strict=False, description="Fields of the reply without which it is no answer."
    )
    types: dict[Field_, JsonType] = Field(
        default_factory=dict, description="JSON types of fields of the reply; null is any type."
    )
    absent: Literal["missing", "violation"] = Field(
        "missing",
        description="What it means when every required field is absent: missing (404) or violation.",
    )
    kaltura: KalturaCall | None = Field(
        default=None,
        description="What the source kaltura asks of Kaltura itself: video, list, search or session. The "
        "client gets the Activity server's video, list or session; reply does not apply. Absent: nothing.",
    )
    prefer: Literal["kaltura"] | None = Field(
        default=None,
        description="kaltura: Kaltura is asked before the gateway. For routes whose answers are not kept.",
    )
    paging: str | None = Field(
        None, description="The reply's list that page and pageSize cut, where the gateway does not."
    )
    canned: str | None = Field(None, description="File of the canned answer (JSON template).")
    fallback: tuple[FallbackName, ...] = Field(
        (), strict=False, description="Sources after the gateway, in order: stale, kaltura, activity, canned."
    )
    max_age: Duration | None = Field(
        default=None, description="How long an answer is good for (RFC 9111). Absent: answers are not kept."
    )
    stale_while_revalidate: Duration | None = Field(
        default=None, description="How long after that it may be given while a new one is got (RFC 5861)."
    )
    stale_if_error: Duration | None = Field(
        default=None, description="How long after that it may be given when the gateway fails (RFC 5861)."
    )
    retry_statuses: frozenset[int] | None = Field(
        default=None,
        strict=False,
        description="Statuses after which the call is repeated. Default: 408, 429 and what gateways and CDNs "
        "send when they are in trouble.",
    )
    credential: bool = Field(
        default=False,
        description="The answer is a credential: in production never mocked unless fallback is "
        "given in the configuration's own routes.",
    )
    retry: bool | None = Field(
        None, description="Whether the call may be repeated. Default: GET yes, others no."
    )
    group: str = Field(
        "gateway", pattern=r"^[a-z][a-z0-9_]*$", description="Routes of one group share a breaker."
    )

    @model_validator(mode="after")
    def _fits(self) -> "Route":
        problems = [
            *self._sources(),
            *self._names(),
            *self._paging(),
            *self._repetition(),
            *self._keeping(),
        ]
        if self.group in _OTHERS_BREAKERS:
            whose = "Kaltura's" if self.group == "kaltura" else "the token endpoint's"
            problems.append((("group",), f"{self.group} is {whose} own breaker"))
        if problems:
            raise Misfits(tuple(problems))
        return self

    def _sources(self) -> list[tuple[tuple[str | int, ...], str]]:
        problems: list[tuple[tuple[str | int, ...], str]] = []
        if self.call is None and not self.fallback and self.sign != "out":
            problems.append((("match",), "nothing can answer: give a call or a fallback"))
        if self.call is not None and self.reply is None:
            problems.append((("call",), "a call wants a reply mapping"))
        if self.call is None:
            problems += [
                ((key,), "has no meaning without a call")
                for key, given in (
                    ("send", self.send is not None),
                    ("reply", self.reply is not None),
                    ("require", self.require),
                    ("types", self.types),
                    ("kaltura", self.kaltura is not None),
                )
                if given
            ]
        for index, source in enumerate(self.fallback):
            if source == "canned" and self.canned is None:
                problems.append((("fallback", index), "the route has no canned file"))
            if source == "kaltura" and self.kaltura is None:
                problems.append((("fallback", index), "the route asks nothing of Kaltura (kaltura)"))
            if source in self.fallback[:index]:
                problems.append((("fallback", index), f"{source} is named twice"))
        return [*problems, *self._signing(), *self._kaltura()]

    def _signing(self) -> list[tuple[tuple[str | int, ...], str]]:
        problems: list[tuple[tuple[str | int, ...], str]] = []
        if self.sign is not None and self.call is not None:
            problems.append((("sign",), "a route that signs viewers in or out has no call"))
        if self.sign == "in" and self.fallback and "activity" not in self.fallback:
            problems.append((("fallback",), "only the Activity server's answer signs a viewer in"))
        if self.sign == "in" and not self.credential:
            problems.append((("sign",), "the answer holds tokens: credential: true is wanted beside it"))
        if self.sign == "out":
            problems += [
                ((key,), "has no meaning where the sidecar itself answers")
                for key in ("fallback", "canned")
                if getattr(self, key)
            ]
        return problems

    def _kaltura(self) -> list[tuple[tuple[str | int, ...], str]]:
        problems: list[tuple[tuple[str | int, ...], str]] = [
            (
                ("kaltura",),
                f"{self.kaltura} wants {'an integer' if kind == 'integer' else 'a string'} input {name}",
            )
            for name, kind in (KALTURA_INPUTS[self.kaltura] if self.kaltura else {}).items()
            if name not in self.inputs or self.inputs[name].type != kind
        ]
        if self.prefer is not None and self.kaltura is None:
            problems.append((("prefer",), "the route asks nothing of Kaltura (kaltura)"))
        if self.prefer is not None and self.max_age is not None:
            problems.append(
                (("prefer",), "only the gateway's answers are kept: it has no place beside max_age")
            )
        return problems

    def _names(self) -> list[tuple[tuple[str | int, ...], str]]:
        known = set(self.inputs)
        wanted: list[tuple[str, frozenset[str]]] = []
        if self.call is not None:
            wanted.append(("call", self.call.names))
        if self.send is not None:
            wanted.append(("send", self.send.names - BUILT_IN - SUBJECT_NAMES))
        if self.reply is not None:
            wanted.append(("reply", self.reply.names - IN_REPLY))
        problems: list[tuple[tuple[str | int, ...], str]] = [
            ((key,), f"{name} is no input of this route")
            for key, names in wanted
            for name in sorted(names - known)
        ]
        problems += [
            (("input", name) if name in self.input else ("match",), f"{name} is the name of a built-in value")
            for name in sorted(known & RESERVED)
        ]
        return [*problems, *self._places()]

    def _places(self) -> list[tuple[tuple[str | int, ...], str]]:
        problems: list[tuple[tuple[str | int, ...], str]] = []
        in_path = {text for text, is_slot in self.call.path if is_slot} if self.call is not None else set()
        for name, given in self.input.items():
            if given.where == "path" and name not in self.match.parameters:
                problems.append((("input", name), "no such parameter in match"))
            if given.where != "path" and name in self.match.parameters:
                problems.append((("input", name, "from"), f"{name} stands in match: it is from the path"))
            if given.where == "body" and self.match.method == "GET":
                problems.append((("input", name, "from"), "a GET has no body"))
            if name in in_path and given.type == "string" and given.pattern is None:
                problems.append((("input", name), "a value in the gateway's path wants a pattern"))
        return problems

    def _paging(self) -> list[tuple[tuple[str | int, ...], str]]:
        if self.paging is None:
            return []
        return [
            (("paging",), f"paging wants an integer input {name} that is 1 or more")
            for name in ("page", "pageSize")
            if name not in self.input or self.input[name].type != "integer" or self.input[name].minimum < 1
        ]

    def _repetition(self) -> list[tuple[tuple[str | int, ...], str]]:
        if self.call is None:
            return []
        if self.retry and self.call.method != "GET":
            return [(("retry",), f"a {self.call.method} must not be repeated")]
        if self.send is not None and self.call.method == "GET":
            return [(("send",), "a GET has no body")]
        return []

    def _keeping(self) -> list[tuple[tuple[str | int, ...], str]]:
        problems: list[tuple[tuple[str | int, ...], str]] = []
        if self.max_age is None:
            problems += [
                ((key,), "has no meaning without max_age")
                for key in ("stale_while_revalidate", "stale_if_error")
                if getattr(self, key) is not None
            ]
        else:
            if self.as_ == "user" or self.credential:
                problems.append((("max_age",), "a user's answer is never kept for others"))
            if self.call is None or self.call.method != "GET":
                problems.append((("max_age",), "only the answer to a GET of the gateway can be kept"))
        if "stale" in self.fallback and self.stale_if_error is None:
            index = self.fallback.index("stale")
            problems.append((("fallback", index), "the route has no stale_if_error"))
        return problems

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """All inputs: those declared, and each path parameter with the pattern of an id."""
        from_path = {
            name: Input.model_validate({"from": "path", "pattern": ID_PATTERN})
            for name in self.match.parameters
            if name not in self.input
        }
        return {**from_path, **self.input}

    @cached_property
    def shape(self) -> Shape:
        """What the reply has to be."""
        return Shape.of(self.require, self.types)

    @property
    def repeatable(self) -> bool:
        """Whether a failed call may be made again."""
        if self.retry is not None:
            return self.retry
        return self.call is not None and self.call.method == "GET"

    @property
    def fields(self) -> tuple[str, ...]:
        """The closed set of names that a contract violation of this route can carry."""
        return (*dict.fromkeys([*self.require, *self.types]), "body")
