import json
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import filelock
import freezegun
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canary import CANARY_ACCESS_TOKEN, CANARY_EXTRA, CANARY_REFRESH_TOKEN, assert_clean
from doubles import CountingStep, faults, recorded
from pytest_requestforge.contracts import TokenStorageContract
from requestforge import (
    FileTokenStorage,
    TokenData,
    TokenFetchPipeline,
    TokenStorageException,
    TokenStorageInterface,
)
from requestforge.events import LockUnavailable, StorageFailed

pytestmark = pytest.mark.compat

T = TypeVar("T")

LONG_AND_NOW = timedelta(seconds=30), timedelta(0)
FULL = {
    "access_token": "secret",
    "token_type": "Bearer",
    "expires_at": "2030-01-01T12:00:00+00:00",
    "refresh_token": "again",
    "scope": "read write",
    "extra": {"a": [1, {"b": None}]},
    "issued_at": "2030-01-01T11:00:00+00:00",
    "leeway": 2.5,
    "generation": "tag.epoch.nonce",
}
SECRET = TokenData(
    CANARY_ACCESS_TOKEN, refresh_token=CANARY_REFRESH_TOKEN, extra={"id_token": CANARY_EXTRA}
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the storage is; not there yet."""
    return tmp_path / "cache" / "tokens"


@pytest.fixture
def storage(directory: Path) -> FileTokenStorage:
    """An empty storage."""
    return FileTokenStorage(directory)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The process takes no permission away from the files that it makes."""
    before = os.umask(0)
    yield
    os.umask(before)


def files(directory: Path, suffix: str = ".json") -> list[Path]:
    """The files of a storage whose names end so."""
    return sorted(path for path in directory.iterdir() if path.name.endswith(suffix))


def mode(path: Path) -> int:
    """The permissions of a file or directory."""
    return stat.S_IMODE(path.stat().st_mode)


def at_once(count: int, call: Callable[[], T]) -> list[T]:
    """What so many threads get that call at the same time."""
    start = Barrier(count)

    def run(_: int) -> T:
        start.wait(10)
        return call()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can have more than a few bytes, as on a disk that runs full."""
    resource = pytest.importorskip("resource", reason="There are no such limits here.")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestContract(TokenStorageContract):
    @pytest.fixture
    def storage(self, directory: Path) -> TokenStorageInterface:
        """A storage in a directory of its own."""
        return FileTokenStorage(directory)


class TestContractIn2030(TestContract):
    @pytest.fixture(autouse=True)
    def _frozen(self) -> Iterator[None]:
        """All clocks that a test can stop stand still."""
        with freezegun.freeze_time("2030-01-01T00:00:00Z", ignore=["_pytest"]):
            yield


class TestConstruction:
    def test_imports_filelock(self, directory: Path) -> None:
        """Filelock is loaded when a storage is made, and no earlier."""
        code = (
            "import sys\n"
            "from requestforge import FileTokenStorage\n"
            "early = 'filelock' in sys.modules\n"
            "FileTokenStorage(sys.argv[1])\n"
            "sys.exit(early or 'filelock' not in sys.modules)\n"
        )

        command = [sys.executable, "-c", code, str(directory)]
        assert subprocess.run(command, check=False).returncode == 0

    def test_tells_how_to_install_filelock(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without filelock it says which extra to install, and makes no directory."""
        monkeypatch.setitem(sys.modules, "filelock", None)

        with pytest.raises(ImportError, match=r"pip install 'requestforge\[file\]'"):
            FileTokenStorage(directory)

        assert not directory.exists()

    @pytest.mark.parametrize("make", [str, Path], ids=["str", "path"])
    def test_names_its_directory(self, make: Callable[[Path], str | Path], directory: Path) -> None:
        """The directory may be a str or a path, and is what the repr shows."""
        assert repr(FileTokenStorage(make(directory))) == f"FileTokenStorage({str(directory)!r})"

    def test_stays_where_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative directory is that of the moment, wherever the process goes later."""
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        storage = FileTokenStorage("tokens")
        storage.set("app", TokenData("kept"))

        monkeypatch.chdir("elsewhere")

        assert storage.get("app") == TokenData("kept")

    def test_knows_the_home_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A tilde stands for the home of the user."""
        monkeypatch.setenv("HOME", str(tmp_path))

        FileTokenStorage("~/tokens")

        assert (tmp_path / "tokens").is_dir()

    def test_travels_in_a_pickle(self, storage: FileTokenStorage) -> None:
        """A process that is started afresh may be handed the storage itself."""
        storage.set("app", TokenData("kept"))

        assert pickle.loads(pickle.dumps(storage)).get("app") == TokenData("kept")

    def test_says_that_others_may_see_it(self, storage: FileTokenStorage) -> None:
        """It is shared, so no read can be skipped."""
        assert storage.shared
        assert storage.content_version is None


@pytest.mark.skipif(sys.platform == "win32", reason="Modes say nothing here.")
class TestPermissions:
    @pytest.mark.usefixtures("open_umask")
    def test_are_those_of_this_user_alone(self, directory: Path) -> None:
        """Whatever the umask, directories are 0700 and all files in them 0600."""
        storage = FileTokenStorage(directory)
        storage.set("app", TokenData("replaced"))
        storage.set("app", TokenData("kept", refresh_token="again"))
        with storage.lock("app", *LONG_AND_NOW) as acquired:
            assert acquired
            modes = [mode(path) for path in directory.iterdir()]

        assert modes == [0o600] * 4  # the token, its guard, the lock, and what its holder locks
        assert (mode(directory), mode(directory.parent)) == (0o700, 0o700)

    @pytest.mark.parametrize("bits", [0o770, 0o707, 0o722, 0o1777], ids=oct)
    def test_of_others_to_write_are_refused(self, directory: Path, bits: int) -> None:
        """In a directory that others may write to tokens could be anybody's."""
        directory.mkdir(parents=True)
        directory.chmod(bits)

        with pytest.raises(ValueError, match="chmod 700") as caught:
            FileTokenStorage(directory)

        assert f"mode {bits:04o}" in str(caught.value)

    def test_of_others_to_list_are_left_alone(self, directory: Path) -> None:
        """A directory that others can only look into stays as it is."""
        directory.mkdir(parents=True)
        directory.chmod(0o755)

        FileTokenStorage(directory).set("app", TokenData("kept"))

        assert mode(directory) == 0o755

    def test_that_were_opened_later_are_refused(
        self, directory: Path, storage: FileTokenStorage
    ) -> None:
        """Nothing is written any more once others may write, too."""
        directory.chmod(0o777)

        with pytest.raises(TokenStorageException, match="chmod 700"):
            storage.set("app", SECRET)

        assert list(directory.iterdir()) == []


class TestFiles:
    def test_hold_json(self, directory: Path, storage: FileTokenStorage) -> None:
        """A key has one file, which holds JSON with the key in it."""
        storage.set("app:user", TokenData("secret", scope="read"))

        [file] = files(directory)
        record = json.loads(file.read_text())
        assert record["key"] == "app:user"
        assert TokenData.from_dict(record) == TokenData("secret", scope="read")

    @pytest.mark.parametrize(
        "keys",
        [
            pytest.param(["app:user", "APP:user", "app_user", "app:user "], id="alike"),
            pytest.param(["..", "../app", "/etc/passwd", "a/b", "a\\b", ""], id="paths"),
            pytest.param(["x" * 5000, "x" * 5001, "й" * 300], id="long"),
            pytest.param(["con", "nul.json", "a:b", "app:\ud800", "\x00"], id="odd"),
        ],
    )
    def test_have_safe_names(
        self, directory: Path, storage: FileTokenStorage, keys: list[str]
    ) -> None:
        """Any key has a file of its own in the directory, also where case does not count."""
        for key in keys:
            storage.set(key, TokenData(key or "empty"))

        assert [storage.get(key) for key in keys] == [TokenData(key or "empty") for key in keys]
        names = [file.name for file in files(directory)]
        assert len({name.lower() for name in names}) == len(keys)
        assert all(len(name) < 140 and name.isascii() for name in names)
        assert {path.parent for path in directory.parent.rglob("*.json")} == {directory}

    def test_begin_readably(self, directory: Path, storage: FileTokenStorage) -> None:
        """Who looks into the directory sees what is whose."""
        storage.set("shop@acme:user_token#epoch", TokenData("x"))

        assert files(directory)[0].name.startswith("shop_acme_user_token_epoch-")

    def test_are_on_the_disk_if_they_cannot_be_fetched_again(
        self, storage: FileTokenStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A refresh token is waited for until the disk has it, any other token is not."""
        synced: list[int] = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda file: synced.append(file) or fsync(file))

        storage.set("app", TokenData("short"))
        assert synced == []
        storage.set("app", TokenData("short", refresh_token="precious"))
        assert len(synced) == 2 - (sys.platform == "win32")

    def test_are_not_left_behind(self, directory: Path, storage: FileTokenStorage) -> None:
        """After its record is deleted a key has no file that holds a token."""
        storage.set("app", SECRET)
        storage.delete("app")

        assert files(directory) == []
        assert all(b"canary" not in path.read_bytes() for path in directory.iterdir())

    def test_are_not_made_for_what_is_not_there(
        self, directory: Path, storage: FileTokenStorage
    ) -> None:
        """Asking for unknown keys leaves nothing in the directory."""
        storage.get("app")
        storage.exists("app")
        storage.delete("app")

        assert list(directory.iterdir()) == []


UNREADABLE = {
    "empty": b"",
    "torn": b'{"key": "app", "access_tok',
    "list": b"[]",
    "text": b'"app"',
    "binary": b"\x00\xff\xfe",
    "deep": b'{"key": "app", "extra": ' + b"[" * 100_000,
    "nameless": b'{"access_token": "x"}',
    "another's": b'{"key": "user", "access_token": "x"}',
    "malformed": b'{"key": "app", "access_token": 5}',
}


class TestUnreadableFiles:
    @pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
    def test_count_as_none(
        self, directory: Path, storage: FileTokenStorage, content: bytes
    ) -> None:
        """What is no token of that key is none, goes, and is told of; others are found."""
        storage.set("app", TokenData("replaced"))
        [file] = files(directory)
        storage.set("other", TokenData("kept"))

        for read in (storage.get, lambda key: storage.get_many([key, "other"]).get(key)):
            file.write_bytes(content)
            with recorded() as events:
                assert read("app") is None
            assert [(type(e), e.step, e.operation) for e in events] == [
                (StorageFailed, "app", "read")
            ]
            assert not storage.exists("app")
        assert storage.get("other") == TokenData("kept")

    def test_may_be_replaced(self, directory: Path, storage: FileTokenStorage) -> None:
        """A record that nobody can read is in nobody's way."""
        storage.set("app", TokenData("old"))
        files(directory)[0].write_bytes(b"{")

        assert not storage.compare_and_delete("app", None)
        assert storage.compare_and_set("app", TokenData("new"), None)

        assert storage.get("app") == TokenData("new")

    def test_that_cannot_be_deleted_are_misses_all_the_same(
        self, directory: Path, storage: FileTokenStorage
    ) -> None:
        """A failure to delete what is of no use harms nobody."""
        storage.set("app", TokenData("old"))
        files(directory)[0].write_bytes(b"{")
        [guard] = files(directory, ".guard")
        guard.unlink()
        guard.mkdir()

        assert storage.get("app") is None
        assert storage.exists("app")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="There are no named pipes here.")
    def test_are_deleted_alone(self, directory: Path, storage: FileTokenStorage) -> None:
        """A token that comes in the place of an unreadable record meanwhile is not deleted."""
        storage.set("app", TokenData("new"))
        [file] = files(directory)
        new = file.rename(directory / "new")
        os.mkfifo(file)

        with ThreadPoolExecutor(1) as reader:
            read = reader.submit(storage.get, "app")
            with file.open("wb") as pipe:  # once it reads
                new.replace(file)
                pipe.write(b"{")

        assert read.result() is None
        assert storage.get("app") == TokenData("new")

    def test_are_fetched_anew(self, directory: Path, storage: FileTokenStorage) -> None:
        """To a pipeline a torn file is a miss of that step alone."""
        app, user = CountingStep("app"), CountingStep("user", ["app"])
        pipeline = TokenFetchPipeline([app, user], storage, "shop")
        pipeline.execute()
        file = next(file for file in files(directory) if file.name.startswith("shop_app-"))
        file.write_bytes(file.read_bytes()[:-9])

        with recorded() as events:
            assert pipeline.execute().access_token == "user-1"

        assert faults(events) == [("read", "shop:app")]
        assert (app.fetches, user.fetches) == (2, 1)


class TestAtomicity:
    def test_one_of_many_replaces(self, directory: Path) -> None:
        """Of 16 threads on storages of their own that know the same token one replaces it."""
        FileTokenStorage(directory).set("app", _of_generation("0"))
        for turn in range(5):
            names = iter(range(16))

            def replace(turn: int = turn, names: Iterator[int] = names) -> bool:
                token = _of_generation(str(turn + 1), f"token-{next(names)}")
                return FileTokenStorage(directory).compare_and_set("app", token, str(turn))

            assert sorted(at_once(16, replace)) == [False] * 15 + [True]

    def test_one_of_many_deletes(self, directory: Path) -> None:
        """Of 16 threads that know the same token one deletes it."""
        FileTokenStorage(directory).set("app", _of_generation("0"))

        outcomes = at_once(16, lambda: FileTokenStorage(directory).compare_and_delete("app", "0"))

        assert sorted(outcomes) == [False] * 15 + [True]

    def test_readers_see_whole_records(self, storage: FileTokenStorage) -> None:
        """While a record is replaced over and over a reader finds one or another, never a part."""
        tokens = [TokenData(str(n) * 20_000, refresh_token="again" * (n == 1)) for n in range(2)]
        storage.set("app", tokens[0])

        with ThreadPoolExecutor(1) as writer, recorded() as events:
            written = writer.map(storage.set, ["app"] * 100, tokens * 50)
            seen = {storage.get("app") for _ in range(300)}
            assert list(written) == [None] * 100

        assert seen <= set(tokens)
        assert events == []


class TestFailures:
    @pytest.mark.parametrize(
        ("use", "text"),
        [
            pytest.param(lambda s: s.get("app"), "failed to read app", id="get"),
            pytest.param(lambda s: s.get_many(["app"]), "failed to read app", id="get_many"),
            pytest.param(lambda s: s.set("app", SECRET), "failed to write app", id="set"),
            pytest.param(lambda s: s.exists("app"), "failed to read app", id="exists"),
            pytest.param(lambda s: s.delete("app"), "failed to read app", id="delete"),
            pytest.param(
                lambda s: s.compare_and_set("app", SECRET, None), "failed to write app", id="swap"
            ),
            pytest.param(
                lambda s: s.compare_and_delete("app", "a"), "failed to delete app", id="remove"
            ),
            pytest.param(
                lambda s: s.lock("app", *LONG_AND_NOW).__enter__(), "failed to lock app", id="lock"
            ),
        ],
    )
    def test_are_told(
        self,
        directory: Path,
        storage: FileTokenStorage,
        use: Callable[[FileTokenStorage], object],
        text: str,
    ) -> None:
        """Each use of a directory that has become a file is our exception, without a secret."""
        directory.rmdir()
        directory.write_text("")

        with pytest.raises(TokenStorageException, match=text) as caught:
            use(storage)

        assert isinstance(caught.value.__cause__, OSError)
        assert str(directory) in str(caught.value)
        assert_clean(caught.value)

    def test_of_a_token_are_told(self, storage: FileTokenStorage) -> None:
        """A token that has no JSON form is not stored."""
        with pytest.raises(TokenStorageException, match="failed to write app"):
            storage.set("app", TokenData("secret", extra={"unfit": object()}))

        assert not storage.exists("app")

    def test_of_a_process_that_never_ends_a_change_are_told(
        self, directory: Path, storage: FileTokenStorage
    ) -> None:
        """What somebody is stuck in changing cannot be changed, but can be read."""
        storage.set("app", TokenData("old"))
        [guard] = files(directory, ".guard")

        with (
            filelock.FileLock(guard),
            pytest.raises(TokenStorageException, match=r"failed to write app.*for 2 s"),
        ):
            storage.set("app", TokenData("new"))

        assert storage.get("app") == TokenData("old")

    def test_of_a_full_disk_leave_the_old_token(
        self, directory: Path, storage: FileTokenStorage
    ) -> None:
        """A write that fails halfway changes nothing and leaves nothing behind."""
        storage.set("app", TokenData("old"))
        before = list(directory.iterdir())

        with full_disk(), pytest.raises(TokenStorageException, match="failed to write app"):
            storage.set("app", SECRET)

        assert storage.get("app") == TokenData("old")
        assert sorted(directory.iterdir()) == sorted(before)

    def test_of_a_full_disk_do_not_stop_a_pipeline(self, storage: FileTokenStorage) -> None:
        """Tokens stay in this process until there is room again."""
        app, user = CountingStep("app"), CountingStep("user", ["app"])
        pipeline = TokenFetchPipeline([app, user], storage)

        with full_disk(), recorded() as events:
            tokens = {pipeline.execute().access_token for _ in range(3)}

        assert tokens == {"user-1"}
        assert faults(events) == [("write", "app"), ("write", "user")]
        assert [e.step for e in events if isinstance(e, LockUnavailable)] == ["app", "user"]
        assert pipeline.execute(force_refresh=True).access_token == "user-2"
        assert storage.get("user") == TokenData("user-2")

    def test_of_a_full_disk_to_tell_of_an_invalidation_are_raised(
        self, storage: FileTokenStorage
    ) -> None:
        """Steps count as invalidated in this process; that others do not know is told."""
        app = CountingStep("app")
        pipeline = TokenFetchPipeline([app], storage)
        pipeline.execute()

        with full_disk(), pytest.raises(TokenStorageException, match="invalid in this process"):
            pipeline.invalidate_step("app")

        assert pipeline.execute().access_token == "app-2"

    def test_of_a_directory_to_read_only(self, directory: Path, storage: FileTokenStorage) -> None:
        """Tokens in it are used, others stay in this process."""
        app, user = CountingStep("app"), CountingStep("user", ["app"])
        TokenFetchPipeline([app], storage).execute()
        directory.chmod(0o500)
        if os.access(directory, os.W_OK):
            pytest.skip("This user may write everywhere.")
        try:
            pipeline = TokenFetchPipeline([app, user], storage)
            with recorded() as events:
                assert {pipeline.execute().access_token for _ in range(3)} == {"user-1"}
        finally:
            directory.chmod(0o700)

        assert (app.fetches, user.fetches) == (1, 1)
        assert faults(events) == [("write", "user")]

    def test_of_a_directory_that_cannot_be_read_do_not_stop_a_pipeline(
        self, directory: Path, storage: FileTokenStorage
    ) -> None:
        """Each fault is told, and each step fetched once."""
        directory.rmdir()
        directory.write_text("")
        app = CountingStep("app")
        pipeline = TokenFetchPipeline([app], storage)

        with recorded() as events:
            assert {pipeline.execute().access_token for _ in range(3)} == {"app-1"}

        assert {operation for operation, _ in faults(events)} == {"read", "write"}
        assert [e.step for e in events if isinstance(e, LockUnavailable)] == ["app"]

    def test_of_a_directory_that_was_removed_are_mended(
        self, directory: Path, storage: FileTokenStorage
    ) -> None:
        """A directory that somebody deletes is empty, and made again for the next token."""
        app = CountingStep("app")
        pipeline = TokenFetchPipeline([app], storage)
        pipeline.execute()
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
        directory.parent.rmdir()

        with recorded() as events:
            assert {pipeline.execute().access_token for _ in range(3)} == {"app-2"}

        assert faults(events) == []
        assert mode(directory) == 0o700 or sys.platform == "win32"


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Ways to damage a file: bytes that are flipped, cut off, cut out, doubled or put in."""
    kind = draw(st.sampled_from(["flip", "cut", "remove", "double", "insert", "digit"]))
    place = draw(st.floats(0, 1))
    byte = draw(st.integers(1, 255))

    def mutate(content: bytes) -> bytes:
        at = min(int(place * len(content)), len(content) - 1)
        first, rest = content[:at], content[at:]
        return {
            "flip": first + bytes([rest[0] ^ byte]) + rest[1:],
            "cut": first,
            "remove": first + rest[byte:],
            "double": content[: at + byte] + rest,
            "insert": first + bytes([byte]) + rest,
            "digit": first + str(byte).encode() + rest[1:],
        }[kind]

    return mutate


class TestMutatedFiles:
    @given(changes=st.lists(mutations(), min_size=1, max_size=4))
    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_give_a_token_or_none(
        self,
        directory: Path,
        storage: FileTokenStorage,
        changes: list[Callable[[bytes], bytes]],
    ) -> None:
        """Whatever becomes of a record, reading it gives a token or a miss."""
        storage.set("app", TokenData.from_dict(FULL))
        [file] = files(directory)
        content = file.read_bytes()
        for change in changes:
            content = change(content or b"{}")
        file.write_bytes(content)

        token = storage.get("app")

        assert token is None or isinstance(token.is_expired, bool)
        assert storage.exists("app") is (token is not None)

    @given(changes=st.lists(mutations(), min_size=1, max_size=4))
    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_give_a_pipeline_a_token(
        self,
        directory: Path,
        storage: FileTokenStorage,
        changes: list[Callable[[bytes], bytes]],
    ) -> None:
        """Whatever becomes of all files, those of locks included, a pipeline has a token."""
        step = CountingStep("app", expires_in=3600)
        pipeline = TokenFetchPipeline([step], storage)
        pipeline.execute()
        pipeline.invalidate_all()
        pipeline.execute()
        for file in directory.iterdir():
            content = file.read_bytes()
            for change in changes:
                content = change(content or b"{}")
            with suppress(IsADirectoryError):
                file.write_bytes(content)

        assert isinstance(pipeline.execute(), TokenData)


def _of_generation(generation: str, text: str = "token") -> TokenData:
    return TokenData.from_dict({"access_token": text, "generation": generation})
