"""Text that is compiled when a model reads it: the model holds the compiled object."""

from collections.abc import Callable
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from proxy.frozen import frozen


@frozen
class Compiled:
    """Annotates a field that `compile_` turns from plain data into an object.

    pydantic's `PlainValidator` would look into the object's own type to learn how to write it out again,
    which nobody asks for and a recursive type does not survive. `schema` is what editors are told.
    """

    compile_: Callable[[Any], object]
    schema: tuple[tuple[str, str], ...] = (("type", "string"),)

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate by compiling; a `ValueError` becomes the field's error."""
        return core_schema.no_info_plain_validator_function(self.compile_)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the text that is compiled."""
        return dict(self.schema)


def text(value: object) -> str:
    """Return a text as it is. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("a text is wanted here")
    return value
