"""A process of its own that renews tokens on Redis ahead of time, as told on its stdin.

Its argument is JSON: the URL of the server, the key prefix, and a file that counts fetches. Its
clock stands still. For each line on stdin it answers with a line of JSON:

- "execute": the access token,
- "advance <seconds>": null, with the clock moved,
- "hold": null; the next fetch says "fetching" and waits for "go",
- "go": null,
- "settle": null, once no renewal is under way here.
"""

import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Its folder is not where these doubles are.
sys.path.insert(0, str(Path(__file__).parents[1]))

from doubles import Clock, CountingStep
from requestforge import RedisTokenStorage, TokenData, TokenFetchPipeline
from requestforge.instrumentation import use_clock


class HourStep(CountingStep):
    """A step whose token lives for an hour, numbered by the fetches of all processes."""

    def __init__(self, counts: Path) -> None:
        super().__init__("app", ttl=timedelta(hours=1))
        self._counts = counts
        self.held: threading.Event | None = None

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        held, self.held = self.held, None
        if held is not None:
            say("fetching")
            held.wait()
        with self._counts.open("a") as counts:
            counts.write("app\n")
        super().fetch(context)
        return TokenData(f"app-{len(self._counts.read_text().split())}")


def main() -> None:
    """Serve stdin."""
    told = json.loads(sys.argv[1])
    storage = RedisTokenStorage(url=told["url"], key_prefix=told["key_prefix"])
    step = HourStep(Path(told["counts"]))
    pipeline = TokenFetchPipeline([step], storage, refresh_ahead=timedelta(minutes=5))
    hold = threading.Event()
    with use_clock(Clock(datetime.now(UTC))) as clock:
        say("ready")
        for line in sys.stdin:
            answer = None
            match line.split():
                case ["execute"]:
                    answer = pipeline.execute().access_token
                case ["advance", seconds]:
                    clock.advance(seconds=float(seconds))
                case ["hold"]:
                    step.held = hold
                case ["go"]:
                    hold.set()
                case ["settle"]:
                    for thread in threading.enumerate():
                        if thread.name == "requestforge-renewal":
                            thread.join()
            say(answer)


def say(answer: object) -> None:
    """Answer, or tell what has come about."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
