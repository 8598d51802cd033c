"""What all sections of the configuration share: how they are read, and the kinds of values in them."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, SecretStr, WithJsonSchema

from proxy.units import Duration, Refused, Share, Size

_TOKEN = re.compile(r"[\x21-\x7e]*")


def _positive(value: float) -> float:
    if value <= 0:
        raise Refused("must be more than 0")
    return value


def _header_safe(secret: SecretStr) -> SecretStr:
    """Refuse what would break out of a header line, or be a whole file by mistake (RFC 9110, 5.5)."""
    if not _TOKEN.fullmatch(secret.get_secret_value()):
        raise Refused("must be one word of visible ASCII characters")
    return secret


def _file_name(name: str) -> str:
    if "\0" in name:
        raise Refused("is no name of a file")
    return name


def _flag(value: object) -> bool:
    """Read true or false; from the environment they may come as texts, and nothing else will do."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    raise Refused("must be true or false")


Flag = Annotated[bool, PlainValidator(_flag), WithJsonSchema({"type": "boolean"})]
Span = Annotated[Duration, AfterValidator(_positive)]
Rate = Annotated[Share, AfterValidator(_positive)]
Amount = Annotated[Size, AfterValidator(_positive)]
FileName = Annotated[str, AfterValidator(_file_name)]
Token = Annotated[SecretStr, AfterValidator(_header_safe)]


class Section(BaseModel):
    """What all sections share: nothing unknown, nothing converted, nothing altered later."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False
    )
