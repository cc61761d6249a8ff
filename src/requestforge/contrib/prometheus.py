"""PrometheusObserver: the events of the library as metrics of prometheus-client."""

from typing import TYPE_CHECKING

from requestforge._fork import importing
from requestforge.contrib._measures import BUCKETS, MEASURES, Labeling
from requestforge.events import Event

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = ["PrometheusObserver"]


class PrometheusObserver:
    """Counts and measures events; for `requestforge.instrumentation.observe`.

    The names begin with `requestforge_`. Labels never hold a path, a query or a tenant, and of all
    origins the first 100 have series of their own.

    Args:
        registry: where the metrics are registered; None: prometheus-client's own `REGISTRY`.

    Raises:
        ImportError: prometheus-client is not installed.
        ValueError: the registry has metrics of these names, such as those of another observer.
    """

    def __init__(self, registry: "CollectorRegistry | None" = None) -> None:
        self._labeling = Labeling()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._register(registry)

    def __call__(self, event: Event) -> None:
        """Count or measure the event."""
        measure = MEASURES.get(type(event))
        if measure is None:
            return
        labels = self._labeling(event, measure.labels)
        if measure.seconds is None:
            self._counters[measure.name].labels(**labels).inc()
        else:
            seconds: float = getattr(event, measure.seconds)
            self._histograms[measure.name].labels(**labels).observe(seconds)

    def _register(self, registry: "CollectorRegistry | None") -> None:
        """Make a metric for each measure; all of them are registered, or none."""
        with importing:
            try:
                import prometheus_client  # noqa: PLC0415 - an extra's
            except ImportError as error:
                msg = (
                    "PrometheusObserver needs prometheus-client: "
                    "pip install 'requestforge[prometheus]'."
                )
                raise ImportError(msg) from error
        home = prometheus_client.REGISTRY if registry is None else registry
        for measure in MEASURES.values():
            name = f"requestforge_{measure.name.replace('.', '_')}"
            try:
                if measure.seconds is None:
                    self._counters[measure.name] = prometheus_client.Counter(
                        name, measure.text, measure.labels, registry=home
                    )
                else:
                    name = f"{name}_seconds"
                    self._histograms[measure.name] = prometheus_client.Histogram(
                        name, measure.text, measure.labels, registry=home, buckets=BUCKETS
                    )
            except ValueError as error:
                for metric in (*self._counters.values(), *self._histograms.values()):
                    home.unregister(metric)
                msg = (
                    f"The registry has a metric {name} already: make one PrometheusObserver for "
                    "each registry, and observe with that one everywhere."
                )
                raise ValueError(msg) from error
