"""PrometheusObserver: metrics, through the real client."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from happenings import KINDS, PAGE, a_day_at_work, some
from prometheus_client import CollectorRegistry, Counter, generate_latest

from canary import traces
from client_server import Server
from doubles import CountingStep
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge.contrib.prometheus import PrometheusObserver
from requestforge.events import RequestSent, ResponseReceived, StepFetched, StepInvalidated
from requestforge.instrumentation import observe

FETCHES = "requestforge_step_fetch_duration_seconds_count"

WORKER = """
    import os, sys
    from happenings import some
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector
    from requestforge.contrib.prometheus import PrometheusObserver
    from requestforge.events import StepCached, StepFetched

    observer = PrometheusObserver()
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            observer(some(StepFetched))
            observer(some(StepCached))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    sys.stdout.write(generate_latest(registry).decode())
"""


@pytest.fixture
def registry() -> CollectorRegistry:
    """An empty registry."""
    return CollectorRegistry()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_measured(kind: Any, registry: CollectorRegistry) -> None:  # noqa: ANN401
    """One metric, which the guide lists, tells of each event, named as Prometheus has it."""
    PrometheusObserver(registry)(some(kind))
    told = {
        sample.name
        for metric in registry.collect()
        for sample in metric.samples
        if sample.value and sample.name.endswith(("_total", "_seconds_count"))
    }
    [name] = told
    assert name.startswith("requestforge_")
    assert f"``{name.removesuffix('_count')}``" in PAGE.read_text(encoding="utf-8")


def test_labels(registry: CollectorRegistry) -> None:
    """Labels are step, pipeline without tenant, method, origin and status."""
    observer = PrometheusObserver(registry)
    observer(some(StepFetched, step="login", seconds=0.25))
    observer(some(ResponseReceived, status_code=200))
    step = {"pipeline": "shop", "step": "login"}
    assert registry.get_sample_value(FETCHES, step) == 1
    total = registry.get_sample_value("requestforge_step_fetch_duration_seconds_sum", step)
    assert total == pytest.approx(0.25)
    request = {"method": "GET", "origin": "https://api.example:8443", "status": "200"}
    name = "requestforge_request_duration_seconds_count"
    assert registry.get_sample_value(name, request) == 1


def test_series_have_an_end(registry: CollectorRegistry) -> None:
    """Tenants, paths and origins without end make no more than 101 series."""
    observer = PrometheusObserver(registry)
    for number in range(300):
        observer(some(RequestSent, url=f"https://{number}.example/{number}?q={number}"))
        observer(some(StepFetched, pipeline=f"shop@{number}"))
    [attempts] = [m for m in registry.collect() if m.name == "requestforge_request_attempts"]
    series = [sample for sample in attempts.samples if sample.name.endswith("_total")]
    assert len(series) == 101
    assert registry.get_sample_value(FETCHES, {"pipeline": "shop", "step": "x"}) == 300


@pytest.mark.parametrize("url", ["/relative", "http://[broken/"], ids=["relative", "broken"])
def test_a_url_that_leads_nowhere(url: str, registry: CollectorRegistry) -> None:
    """A request that was never to be sent counts for the origin `other`."""
    PrometheusObserver(registry)(some(RequestSent, url=url))
    labels = {"method": "GET", "origin": "other"}
    assert registry.get_sample_value("requestforge_request_attempts_total", labels) == 1


def test_one_observer_for_each_registry(registry: CollectorRegistry) -> None:
    """A second one is refused with a hint, and the first one goes on."""
    first = PrometheusObserver(registry)
    with pytest.raises(ValueError, match="one PrometheusObserver for each registry"):
        PrometheusObserver(registry)
    first(some(StepFetched))
    assert registry.get_sample_value(FETCHES, {"pipeline": "shop", "step": "x"}) == 1


def test_all_metrics_or_none(registry: CollectorRegistry) -> None:
    """One that is refused leaves none of its metrics in the registry."""
    name = "requestforge_circuit_changes"
    other = Counter(name, "Of another.", registry=registry)
    with pytest.raises(ValueError, match=name):
        PrometheusObserver(registry)
    assert [metric.name for metric in registry.collect()] == [name]
    registry.unregister(other)
    PrometheusObserver(registry)


def test_what_is_no_event_of_ours_is_let_pass(registry: CollectorRegistry) -> None:
    """An event of a kind that came later is not counted, and nothing is raised."""

    class Later(StepInvalidated):
        """Of a later release."""

    PrometheusObserver(registry)(some(Later))
    assert not [sample for metric in registry.collect() for sample in metric.samples]


def test_at_work(registry: CollectorRegistry) -> None:
    """Through a pipeline and a client, without a secret anywhere."""
    with Server() as server, observe(PrometheusObserver(registry)):
        a_day_at_work(server)
    text = generate_latest(registry).decode()
    assert 'requestforge_step_fetch_failures_total{pipeline="shop",step="login"} 1.0' in text
    assert f'requestforge_request_failures_total{{method="GET",origin="{server.url}"}}' in text
    assert traces(text) == []
    assert "acme" not in text
    assert "orders" not in text


def test_threads(registry: CollectorRegistry) -> None:
    """No event of many threads is lost."""
    step = CountingStep("login")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage(), "shop")

    def run() -> None:
        for _ in range(50):
            pipeline.execute(force_refresh=True)

    threads = [threading.Thread(target=run) for _ in range(8)]
    with observe(PrometheusObserver(registry)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    counted = registry.get_sample_value(FETCHES, {"pipeline": "shop", "step": "login"})
    assert counted == step.fetches


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_many_processes(tmp_path: Path) -> None:
    """In the multiprocess mode the counts of all processes add up."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WORKER)],
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join((*paths, os.environ.get("PYTHONPATH", ""))),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert f'{FETCHES}{{pipeline="shop",step="x"}} 3.0' in run.stdout
    assert 'requestforge_step_cache_hits_total{pipeline="shop",step="x"} 3.0' in run.stdout


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one without prometheus-client says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r"pip install 'requestforge\[prometheus\]'"):
        PrometheusObserver()


def test_the_clients_own_registry_is_the_default() -> None:
    """Without a registry the metrics go where those of the application go."""
    code = """
        from prometheus_client import REGISTRY
        from requestforge.contrib.prometheus import PrometheusObserver
        PrometheusObserver()
        assert any(m.name == "requestforge_step_cache_hits" for m in REGISTRY.collect())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=30, check=True)
