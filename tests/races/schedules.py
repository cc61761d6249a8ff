"""Processes that take turns at each operation of the storage that they share, in every order."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from racing import LIMIT

from requestforge import TokenData
from requestforge.interfaces import TokenStorageInterface


class Schedule:
    """Lets one of several actors go on at a time, and another one where it is told to.

    Args:
        switches: at which turns to go on with another actor, and with which of those that can go
            on; at all other turns the same one goes on for as long as it can.
    """

    def __init__(self, switches: dict[int, int]) -> None:
        self._switches = switches
        self._turns = 0
        self._names: dict[int, str] = {}
        self._goes: dict[str, threading.Lock] = {}
        self._blocked: dict[str, Callable[[], bool]] = {}
        self._ended = threading.Semaphore(0)
        self._errors: list[BaseException] = []
        self.choices: list[int] = []
        """How many other actors could have gone on, turn by turn."""

    def run(self, actors: dict[str, Callable[[], object]]) -> None:
        """Run them all to their end; the first one begins."""
        threads = []
        for name, call in actors.items():
            gate = threading.Lock()
            gate.acquire()
            self._goes[name] = gate
            thread = threading.Thread(target=self._run, args=(name, call), daemon=True)
            threads.append(thread)
            thread.start()
        self._goes[next(iter(actors))].release()
        for _ in threads:
            assert self._ended.acquire(timeout=LIMIT), "An actor hangs."
        for error in self._errors:
            raise error

    def turn(self, blocked: Callable[[], bool] | None = None) -> None:
        """Let another actor go on here, if the schedule says so, or for as long as this is blocked.

        An actor that does not take part, such as the test itself, simply goes on.
        """
        name = self._names.get(threading.get_ident())
        if name is None:
            return
        if blocked is not None:
            self._blocked[name] = blocked
        following = self._next(name)
        if following != name:
            self._goes[following].release()
            self._goes[name].acquire()
        self._blocked.pop(name, None)

    def _run(self, name: str, call: Callable[[], object]) -> None:
        self._goes[name].acquire()
        self._names[threading.get_ident()] = name
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised in the test
            self._errors.append(error)
        del self._goes[name]
        if self._goes:
            self._goes[self._next(None)].release()
        self._ended.release()

    def _next(self, name: str | None) -> str:
        able = [each for each in self._goes if each not in self._blocked or not self._waits(each)]
        assert able, "All actors wait for each other."
        others = [each for each in able if each != name]
        goes_on = name in able
        choice = self._switches.get(self._turns)
        self._turns += 1
        self.choices.append(len(others) if goes_on else len(others) - 1)
        if goes_on:
            return others[choice % len(others)] if choice is not None and others else str(name)
        return others[(0 if choice is None else choice + 1) % len(others)]

    def _waits(self, name: str) -> bool:
        return self._blocked[name]()


def schedules(most: int, turns: Callable[[dict[int, int]], list[int]]) -> int:
    """Run every schedule of at most so many switches; how many there were.

    Args:
        most: how many switches.
        turns: runs a schedule of those switches, and gives the choices that it had.
    """
    count, waiting = 0, [dict[int, int]()]
    while waiting:
        switches = waiting.pop()
        choices = turns(switches)
        count += 1
        if len(switches) < most:
            after = max(switches, default=-1) + 1
            waiting += [
                {**switches, turn: choice}
                for turn in range(after, len(choices))
                for choice in range(choices[turn])
            ]
    return count


class Records:
    """What the storages of all processes hold, and who has which lock."""

    def __init__(self) -> None:
        self.tokens: dict[str, TokenData] = {}
        self.locked: set[str] = set()
        self.schedule = Schedule({})
        # Called with the key after each single reading.
        self.after_get: Callable[[str], object] = lambda _: None


class ProcessStorage(TokenStorageInterface):
    """The storage object of one process, each operation of which is a turn."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def get(self, key: str) -> TokenData | None:
        self.records.schedule.turn()
        token = self.records.tokens.get(key)
        self.records.after_get(key)
        return token

    def set(self, key: str, token: TokenData) -> None:
        self.records.schedule.turn()
        self.records.tokens[key] = token

    def delete(self, key: str) -> None:
        self.records.schedule.turn()
        self.records.tokens.pop(key, None)

    def exists(self, key: str) -> bool:
        self.records.schedule.turn()
        return key in self.records.tokens

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        self.records.schedule.turn()
        tokens = self.records.tokens
        return {key: tokens[key] for key in keys if key in tokens}


class OneByOneStorage(ProcessStorage):
    """A storage that reads a batch key by key, as Django's caches on files do."""

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        found = {key: self.get(key) for key in keys}
        return {key: token for key, token in found.items() if token is not None}


class AtomicStorage(ProcessStorage):
    """A storage that compares in one step, and has locks, as Redis and files do."""

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        self.records.schedule.turn()
        return self._is(key, generation) and self.records.tokens.update({key: token}) is None

    def compare_and_delete(self, key: str, generation: str | None) -> bool:
        self.records.schedule.turn()
        return self._is(key, generation) and self.records.tokens.pop(key, None) is not None

    def lock(
        self, key: str, lease: timedelta, wait: timedelta
    ) -> AbstractContextManager[bool] | None:
        del lease, wait
        return self._locked(key)

    @contextmanager
    def _locked(self, key: str) -> Iterator[bool]:
        locked = self.records.locked
        self.records.schedule.turn(lambda: key in locked)
        locked.add(key)
        try:
            yield True
        finally:
            locked.discard(key)

    def _is(self, key: str, generation: str | None) -> bool:
        token = self.records.tokens.get(key)
        return (None if token is None else token.generation) == generation
