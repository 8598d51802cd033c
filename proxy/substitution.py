"""`${NAME}`, `${NAME:-default}` and `${file:/run/secrets/x}` in the texts of a configuration.

It happens after YAML was read, so that no value can change the structure, and what is put in is not
looked through again. `$${` stands for a literal `${`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import field

from proxy.frozen import frozen

_OPENING = re.compile(r"\$?\$\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Unsubstitutable(ValueError):
    """Something cannot be put in; the text names what was asked for, never what was found."""


@frozen
class Substitution:
    """Puts values of the environment and of secret files into texts.

    `read_file` returns a file's bytes or raises OSError. The environment is the one given, not the
    process's own.
    """

    environ: Mapping[str, str] = field(repr=False)
    read_file: Callable[[str], bytes]

    def __call__(self, text: str) -> tuple[str, str | None]:
        """Return the finished text and what was put in, like `${A} and ${file:b}` (None: nothing).

        Raises `Unsubstitutable`.
        """
        parts: list[str] = []
        origins: list[str] = []
        end = 0
        while found := _OPENING.search(text, end):
            parts.append(text[end : found.start()])
            end = found.end()
            if found[0] == "$${":
                parts.append("${")
                continue
            close = text.find("}", end)
            if close < 0:
                raise Unsubstitutable("${ is not closed; write $${ for a literal ${")
            name, value = self._value(text[end:close])
            parts.append(value)
            origins.append(f"${{{name}}}")
            end = close + 1
        return "".join([*parts, text[end:]]), " and ".join(dict.fromkeys(origins)) or None

    def _value(self, wanted: str) -> tuple[str, str]:
        if "${" in wanted:
            raise Unsubstitutable("${…} cannot stand within another ${…}")
        if wanted.startswith("file:"):
            return wanted, self._content(wanted[5:])
        found = _VARIABLE.fullmatch(wanted)
        if not found:
            raise Unsubstitutable("${…} takes NAME, NAME:-default or file:/path")
        name, default = found.groups()
        value = self.environ.get(name)
        if not value and default is not None:  # as in a shell: unset or empty
            return name, default
        if value is None:
            raise Unsubstitutable(f"the variable {name} is not set, and ${{{name}}} has no default")
        return name, value

    def _content(self, path: str) -> str:
        try:
            text = self.read_file(path).decode()
        except UnicodeDecodeError:
            raise Unsubstitutable(f"{path} is not UTF-8 text") from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "no such path"
            raise Unsubstitutable(f"{path} cannot be read: {why or 'no reason given'}") from None
        return text.removesuffix("\n").removesuffix("\r")
