"""One execution of a pipeline: each step from the cache, or by a flight."""

from collections.abc import Collection, Mapping

from requestforge import instrumentation
from requestforge._execution.keys import epoch_of
from requestforge._execution.plan import Plan, View
from requestforge._execution.resolution import Resolution, StartOver
from requestforge._execution.steps import Step
from requestforge.tokens import TokenData, forced_fetch, is_usable


class Run(Resolution):
    """One execution.

    Args:
        plan: the pipeline's.
        forced: steps that only a fetch which begins from now on will do for.
        stale: generations by step that must not be served; the first of these steps to get a
            new token gives up those of the others.
        refreshes: the steps that this run is to refresh, with or without a stale token.
        rejected: the generation of the last step that is the reason for all that; once it is not
            the current one any more, the run does with what others have put in its place.
        view: what to begin with, just read; None: the run reads it.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        forced: Collection[str] = (),
        stale: Mapping[str, str] | None = None,
        refreshes: Collection[str] = (),
        rejected: str | None = None,
        view: View | None = None,
    ) -> None:
        super().__init__(plan, forced=forced, stale=stale, refreshes=refreshes, rejected=rejected)
        self._read = view
        self._confirmed: set[str] = set()

    def execute(self) -> TokenData:
        """The token of the last step.

        Raises:
            AuthenticationException: a step failed; `service_name` names it.
        """
        self._walk()
        return self._tokens[self._plan.steps[-1].name]

    @property
    def all_served(self) -> bool:
        """Whether every token came from the cache, as it was read at first."""
        return not self._fetched and not self._restarts

    def _walk(self) -> None:
        """Get a token of every step that is needed."""
        while True:
            try:
                self._pass()
            except StartOver:
                self._restarts += 1
            else:
                return

    def _pass(self) -> None:
        self._view, self._landings = self._read or self._plan.view()
        self._read = None
        if self._is_replaced(self._view):
            self._rejected, self._stale = None, {}
        self._fetched = {
            name: token
            for name, token in self._fetched.items()
            if epoch_of(token.generation) == self._view[name].epoch
        }
        self._tokens = {}
        self.served = {}
        for step in self._needed():
            self._tokens[step.name] = self._token_of(step)

    def _needed(self) -> tuple[Step, ...]:
        """The steps to look at, in order: all, or what a lazy walk back from the last one finds."""
        plan = self._plan
        if not plan.lazy:
            return plan.steps
        needed: set[str] = set()
        stack = [plan.steps[-1].name, *self._forced, *self._refreshes]
        while stack:
            name = stack.pop()
            if name in needed or name not in plan.by_name:
                continue
            needed.add(name)
            if name not in self._fetched and self._cached(name) is None:
                stack.extend(plan.by_name[name].depends_on)
        return tuple(step for step in plan.steps if step.name in needed)

    def _token_of(self, step: Step) -> TokenData:
        fetched = self._fetched.get(step.name)
        if fetched is not None:
            return fetched
        token = self._cached(step.name)
        if token is None:
            return self._resolve(step)
        if self._fetched and not is_usable(token, instrumentation.reading()):
            # The fetch of an earlier step took longer than this token had to live.
            if self._plan.lazy:  # and what this step depends on has not been looked at
                self._start_over()
            return self._resolve(step)
        if self._rejected is not None and step.name in self._refreshes - self._confirmed:
            # Another refresh of the same token has come this far. Once its flight has landed, the
            # tokens that this new one makes worthless are given up, and the run starts over.
            self._confirmed.add(step.name)
            return self._resolve(step)
        self._serve(step, token)
        return token

    def _cached(self, name: str) -> TokenData | None:
        """The token that was read for the step, if this run may do with it."""
        token = self._acceptable(name, self._view[name])
        if token is None or not self._demand_on(name).met_by(*forced_fetch(token)):
            return None
        return token
