"""Alert rules and dashboard agree with what is really exported, and with Prometheus itself."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import promql_parser as promql
import pytest
import yaml

from proxy.events import Event
from tests.queries import exported, happenings, known, misfits, result, selectors

DEPLOY = Path(__file__).parent.parent / "deploy"
RULES: Any = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
TESTS = (DEPLOY / "prometheus/rules_test.yml").read_text()
DASHBOARD: Any = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
PANELS: Any = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def rules(kind: str) -> list[Any]:
    """The rules of a kind, `record` or `alert`."""
    return [rule for group in RULES["groups"] for rule in group["rules"] if kind in rule]


def bare(query: str) -> str:
    """A dashboard's query as Prometheus gets it, but for the variables inside of strings."""
    return query.replace("$__rate_interval", "5m")


def targets() -> Iterator[tuple[str, str]]:
    """The dashboard's queries, with their legends."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield bare(target["expr"]), target["legendFormat"]


def queries() -> list[str]:
    """Every query of rules, panels, annotations and variables."""
    found = [rule["expr"] for kind in ("record", "alert") for rule in rules(kind)]
    found += [query for query, _ in targets()]
    found += [note["expr"] for note in DASHBOARD["annotations"]["list"]]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            wanted = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert wanted is not None
            found.append(f"count by ({wanted[2]}) ({wanted[1]})")
    return found


SERIES = known((rule["record"], rule["expr"]) for rule in rules("record"))


def promtool(*words: str | Path) -> None:
    """Run promtool, which must be content."""
    tool = shutil.which("promtool")
    assert tool is not None
    done = subprocess.run([tool, *words], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kind_of_event_is_among_the_happenings() -> None:
    """What the other tests hold queries against comes from all kinds of events."""
    assert {type(event) for event in happenings()} == set(get_args(Event))


def test_every_query_asks_for_what_is_exported() -> None:
    """Each series, label and label value in rules and dashboard is one that the sidecar exports."""
    assert [(query, wrong) for query in queries() for wrong in misfits(query, SERIES)] == []


@pytest.mark.parametrize(
    "query",
    [
        "activity_proxy_request_total",
        'activity_proxy_requests_total{rout="video"}',
        'activity_proxy_requests_total{source="cannned"}',
        'activity_proxy_requests_total{source!~"canned|stail"}',
        "sum by (breaker) (rate(activity_proxy_requests_total[5m]))",
        "up * on (instance) group_left (mode) activity_proxy_build_info",
    ],
)
def test_a_query_for_something_else_is_found_out(query: str) -> None:
    """A wrong name, label or value anywhere in a query does not go unnoticed."""
    assert len(list(misfits(query, SERIES))) == 1


def test_nothing_that_is_exported_goes_unseen() -> None:
    """Each metric of the sidecar's own is in a panel or a rule."""
    asked = {selector.name for query in queries() for selector in selectors(promql.parse(query))}
    series = {name for name in exported() if name.startswith("activity_proxy_")}
    assert {name for name in series - asked if not name.endswith(("_sum", "_count"))} == set()


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: Any) -> None:
    """Each alert has a severity and texts, and these name only labels that the alert has."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    texts = rule["annotations"]
    assert set(texts) == {"summary", "description"}
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(texts.values())))
    assert named <= result(promql.parse(rule["expr"]), SERIES)


def test_every_alert_is_seen_firing_in_the_rules_tests() -> None:
    """No alert is without a case of its own."""
    fired = set(re.findall(r'alertname="(\w+)", ?severity=', TESTS))
    assert fired == {rule["alert"] for rule in rules("alert")}


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    """Promtool finds nothing to say against the rules, not even of style."""
    promtool("check", "rules", "--lint=all", "--lint-fatal", DEPLOY / "prometheus/rules.yml")


@needs_promtool
def test_the_rules_fire_when_they_should() -> None:
    """Promtool plays outages, and quiet times, and sees the alerts that are wanted and no others."""
    promtool("test", "rules", DEPLOY / "prometheus/rules_test.yml")


@needs_promtool
def test_prometheus_takes_the_dashboards_queries(tmp_path: Path) -> None:
    """Prometheus' own parser reads each query of the dashboard."""
    recorded = [{"record": f"q{i}", "expr": query} for i, (query, _) in enumerate(targets())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": recorded}]}))
    promtool("check", "rules", tmp_path / "rules.yml")


def test_legends_name_labels_that_are_there() -> None:
    """A legend shows labels of its own query's result."""
    for query, legend in targets():
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= result(promql.parse(query), SERIES), query


def test_the_dashboard_belongs_to_no_grafana() -> None:
    """It can be put into any Grafana: no numeric id, and every data source is the variable's."""
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] == 42  # the last of the classic model
    used = set(re.findall(r'"uid": "([^"]+)"', json.dumps({**DASHBOARD, "uid": None})))
    assert used == {"${datasource}"}
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "namespace", "job", "instance"]


def test_each_panel_shows_what_was_chosen() -> None:
    """Every query is narrowed to the namespace, the jobs and the instances chosen at the top."""
    chosen = {("namespace", "$namespace"), ("job", "$job"), ("instance", "$instance")}
    for query, _ in targets():
        for selector in selectors(promql.parse(query)):
            narrowed = {(matcher.name, matcher.value) for matcher in selector.matchers.matchers}
            # Only joined to what is narrowed.
            assert narrowed >= chosen or selector.name == "activity_proxy_build_info", query


def test_panels_have_their_places() -> None:
    """No two panels overlap or share an id or a title's row, and each one explains itself."""
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = set(
            product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert all(panel["description"] for panel in PANELS)
