"""What the record of a step is worth, by what this process knows beyond it."""

from requestforge._execution.home import Home
from requestforge._execution.keys import Entry, epoch_of
from requestforge._execution.records import RETIRED, Record
from requestforge._redaction import fingerprint
from requestforge.tokens import TokenData, is_usable, stamped


def fill(record: Record, home: Home, entry: Entry, token: TokenData, *, fenced: bool) -> None:
    """Note what the storage holds for a step.

    Args:
        record: where.
        home: what is known of the storage.
        entry: the step's, which owns the token.
        token: as it was read.
        fenced: whether a record of another epoch than the present one may be older than it.
    """
    record.stored = record.present = token.generation
    if token.generation is None:
        record.present = f"~{fingerprint(token.access_token)}"
        # Written by other means, or by a storage that keeps the basic fields only.
        if entry.tag not in home.doomed:
            record.token = _known(home, entry, token, record.epoch if fenced else None)
    elif not fenced or epoch_of(token.generation) == record.epoch:
        record.token = home.births.known(entry.tag, token)


def judge(
    record: Record,
    home: Home,
    entry: Entry,
    reading: tuple[float, float, object],
    *,
    fenced: bool,
) -> None:
    """Decide whether there is a token that may be served.

    Args:
        record: what was read, and says so from now on.
        home: what is known of the storage.
        entry: the step's.
        reading: the clocks, after the storage was read.
        fenced: as for `fill`.
    """
    if record.token is not None and is_usable(record.token, reading):
        record.usable = record.token
    kept, replaced = home.kept.get(entry.tag, (None, ()))
    if kept is not None and epoch_of(kept.generation) == record.epoch:
        is_latest = record.present in replaced
        if is_usable(kept, reading) and (record.usable is None or is_latest):
            record.token, record.usable, record.kept = kept, kept, True
        elif kept.refresh_token and (is_latest or record.unread):
            # The storage has but what this one was bought with, to be redeemed no more.
            record.token, record.usable, record.kept = kept, None, True
    if record.token is not None or not fenced or record.lacking != "empty":
        return
    if record.epoch not in ("", home.filled.get(entry.tag)):
        record.lacking = "invalidated"


def _known(home: Home, entry: Entry, token: TokenData, epoch: str | None) -> TokenData:
    """A stored token without a generation: as it was fetched here, else with a derived one.

    `epoch`: the only one that it may have been fetched in; None: any.
    """
    born = home.births.of(entry.tag)
    if (
        born is not None
        and born.access_token == token.access_token
        and token.expires_at != RETIRED
        and epoch in {None, epoch_of(born.generation)}
    ):
        return born
    generation = f"{entry.tag}.{epoch or ''}.~{fingerprint(token.access_token)}"
    return stamped(token, generation)
