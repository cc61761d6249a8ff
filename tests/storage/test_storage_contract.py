import pytest

_BROKEN = """
import threading
from contextlib import contextmanager

import pytest
from pytest_requestforge.contracts import TokenStorageContract
from requestforge.interfaces import TokenStorageInterface
from requestforge.tokens import TokenData


class Sound(TokenStorageInterface):
    def __init__(self):
        self.tokens = {}

    def get(self, key):
        return self.tokens.get(key)

    def set(self, key, token):
        self.tokens[key] = token

    def delete(self, key):
        self.tokens.pop(key, None)

    def exists(self, key):
        return key in self.tokens


class ForgetsExpired(Sound):
    def get(self, key):
        token = self.tokens.get(key)
        return None if token is None or token.is_expired else token


class ForgetsGeneration(Sound):
    def set(self, key, token):
        fields = {**token.to_dict(), "generation": None}
        self.tokens[key] = TokenData.from_dict(fields)


class KeepsTheFirst(Sound):
    def set(self, key, token):
        self.tokens.setdefault(key, token)


class MixesKeysUp(Sound):
    def set(self, key, token):
        self.tokens[key[:200]] = token

    def get(self, key):
        return self.tokens.get(key[:200])


class ConvertsExpiry(Sound):
    def set(self, key, token):
        fields = token.to_dict()
        if token.expires_at and token.expires_at.year < 9999:
            fields["expires_at"] = token.expires_at.astimezone()
        self.tokens[key] = TokenData.from_dict(fields)


class GivesMisses(Sound):
    def get_many(self, keys):
        return {key: self.get(key) for key in keys}


class ReadsKeysTwice(Sound):
    def delete_many(self, keys):
        if list(keys):
            for key in keys:
                self.delete(key)


class DeletesOthers(Sound):
    def delete(self, key):
        self.tokens.clear()


class RefusesUnknown(Sound):
    def delete(self, key):
        del self.tokens[key]


class NeverCompares(Sound):
    def compare_and_set(self, key, token, generation):
        self.set(key, token)
        return True

    def compare_and_delete(self, key, generation):
        self.delete(key)
        return True


class ShowsTokens(Sound):
    def __repr__(self):
        return repr([token.access_token for token in self.tokens.values()])


class Locking(Sound):
    def __init__(self):
        super().__init__()
        self.locks = {}

    def lock(self, key, lease, wait):
        return self.hold(key, lease.total_seconds() / 20, min(wait.total_seconds(), 1))

    @contextmanager
    def hold(self, key, lease, wait):
        lock = self.locks.setdefault(key, threading.Semaphore())
        acquired = lock.acquire(timeout=wait) if wait else lock.acquire(blocking=False)
        if not acquired:
            yield False
            return
        ended = []
        def end():
            if not ended:
                ended.append(True)
                lock.release()
        timer = threading.Timer(lease, end)
        timer.daemon = True
        timer.start()
        try:
            yield True
        finally:
            timer.cancel()
            end()


class LocksNobodyOut(Locking):
    @contextmanager
    def hold(self, key, lease, wait):
        yield True


class LocksAllKeys(Locking):
    def lock(self, key, lease, wait):
        return super().lock("all", lease, wait)


class NeverReleases(Locking):
    @contextmanager
    def hold(self, key, lease, wait):
        yield self.locks.setdefault(key, threading.Lock()).acquire(timeout=wait or 0.001)


class LocksWithoutEnd(Locking):
    def hold(self, key, lease, wait):
        return super().hold(key, 60, min(wait, 0.5))


class LocksInTheRecord(Locking):
    @contextmanager
    def hold(self, key, lease, wait):
        with super().hold(key, lease, wait) as acquired:
            self.set(key, TokenData("lock"))
            yield acquired


def contract_of(kind):
    class Contract(TokenStorageContract):
        @pytest.fixture
        def storage(self):
            return kind()

    Contract.__name__ = Contract.__qualname__ = f"Test{kind.__name__}"
    return Contract


for kind in [Sound, *Sound.__subclasses__(), *Locking.__subclasses__()]:
    globals()[f"Test{kind.__name__}"] = contract_of(kind)
del kind
"""


def test_contract_finds_each_fault(pytester: pytest.Pytester) -> None:
    """A sound storage passes the contract, and each of these broken ones fails it."""
    pytester.makepyfile(_BROKEN)

    passed, _, failed = pytester.inline_run("-p", "no:randomly").listoutcomes()

    tried = {report.nodeid.split("::")[1] for report in [*passed, *failed]}
    assert len(tried) == 18
    assert tried - {report.nodeid.split("::")[1] for report in failed} == {
        "TestLocking",
        "TestSound",
    }


def test_contract_asks_for_a_storage(pytester: pytest.Pytester) -> None:
    """A class that forgets to override the fixture is told to."""
    pytester.makepyfile(
        """
        from pytest_requestforge.contracts import TokenStorageContract

        class TestForgetful(TokenStorageContract):
            pass
        """
    )

    result = pytester.runpytest_inprocess("-k", "knows_nothing")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*TestForgetful must override the fixture 'storage'*"])
