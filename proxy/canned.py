"""The source `canned`: an answer from a file, with the request's values filled in."""

from collections.abc import Callable, Mapping

import orjson

from proxy.call import Answer, Call
from proxy.frozen import frozen
from proxy.inputs import called_with
from proxy.template import JsonTemplate


@frozen
class Canned:
    """Answers from compiled templates, by the name of the route.

    `scope` gives the values that every template may use: the time and what the configuration holds.
    """

    templates: Mapping[str, JsonTemplate]
    scope: Callable[[], Mapping[str, object]]

    async def __call__(self, call: Call) -> Answer:
        """Return the canned answer; a list is cut to the page that was asked for."""
        reply = self.templates[call.route.name].render({**self.scope(), **call.values})
        if call.route.paging is not None and isinstance(reply, dict):
            called = called_with(call.route.inputs, call.values)
            page, size = int(called["page"]), int(called["pageSize"])
            elements = reply[call.route.paging]
            reply = {**reply, call.route.paging: elements[(page - 1) * size : page * size]}
        return Answer(200, orjson.dumps(reply), "canned")
