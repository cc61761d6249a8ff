"""The page of `--rf-report`: HTML and SVG in one file that loads nothing else."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import TypedDict

from pytest_requestforge._story import Story

__all__ = ["Told", "page"]


class Told(TypedDict):
    """A test: its id, "passed", "failed", "skipped" or "error", and its stories."""

    test: str
    outcome: str
    stories: list[Story]


_LABELS = 210  # all in pixels
_STEP = 26
_JUMP = 58
_LANE = 34
_TOP = 30
_LETTERS = 28
_HEAD = 8
_BEFORE = 36
_UNITS = ((120, 1, "s"), (7200, 60, " min"), (172_800, 3600, " h"))
_DAY = 86_400

_SHAPES = {
    "fetch": '<circle r="8"/>',
    "request": '<circle r="4"/>',
    "refused": '<circle r="8"/><path d="M-4 -4 4 4M-4 4 4 -4"/>',
    "fault": '<path d="M2 -10 -6 2H-1L-2 10 6 -2H1Z"/>',
    "hit": '<path d="M0 -7 7 0 0 7 -7 0Z"/>',
    "invalidation": '<path d="M-7 -7 7 7M-7 7 7 -7"/>',
    "expiry": '<path d="M-5 -9H5M-5 9H5M0 -9V9"/>',
}
_NAMES = {
    "fetch": "token fetched",
    "hit": "from the cache",
    "expiry": "token ended",
    "invalidation": "given up",
    "refused": "refused",
    "fault": "fault",
    "request": "other request",
}

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2430; --soft: #667085; --line: #d8dde6;
  --band: #f4f6f9; --good: #12714a; --life: #bfe5d2; --bad: #b42318; --fault: #b54708;
  --hit: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e6e9ef; --soft: #98a2b3;
  --line: #333b48; --band: #1b212b; --good: #58c896; --life: #1d4a38; --bad: #ff8a80;
  --fault: #fdb022; --hit: #84b5ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 24px 96px; max-width: 1280px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 22px; }
.sum, .foot { color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 14px 0; padding: 0;
  list-style: none; }
.legend li { display: flex; align-items: center; gap: 6px; }
details.test { border: 1px solid var(--line); border-radius: 8px; margin: 10px 0; }
details.test > summary { cursor: pointer; padding: 8px 12px; overflow-wrap: anywhere; }
.outcome { display: inline-block; min-width: 62px; font-weight: 600; }
.passed .outcome { color: var(--good); }
.failed .outcome, .error .outcome { color: var(--bad); }
.skipped .outcome { color: var(--soft); }
figure { margin: 0; padding: 4px 12px 12px; }
.scroll { overflow-x: auto; }
svg { display: block; }
text { fill: var(--ink); font-size: 13px; }
text.time { fill: var(--soft); font-size: 12px; }
.lane { fill: var(--band); }
.lane.even { fill: none; }
.jump { stroke: var(--line); stroke-dasharray: 3 4; }
.life { fill: var(--life); }
.mark { outline: none; }
.mark path, .mark circle { stroke-width: 2; fill: none; stroke: var(--ink); }
.fetch circle { fill: var(--good); stroke: var(--good); }
.request circle { fill: var(--soft); stroke: var(--soft); }
.mark.refused circle, .mark.refused path { stroke: var(--bad); }
.mark.fault path { fill: var(--fault); stroke: var(--fault); stroke-width: 1; }
.mark.hit path { fill: var(--paper); stroke: var(--hit); }
.mark.invalidation path { stroke: var(--bad); stroke-width: 3; }
.mark:hover, .mark:focus { filter: drop-shadow(0 0 4px var(--ink)); }
#told { position: fixed; inset: auto 0 0; margin: 0; padding: 12px 24px; min-height: 48px;
  background: var(--ink); color: var(--paper); font: 14px/1.5 ui-monospace, monospace; }
#told:empty { display: none; }
"""

# The text of a mark is told at the foot of the page, for the pointer and for the keyboard.
_SCRIPT = """
const told = document.getElementById("told");
for (const kind of ["mouseover", "focusin"]) {
  document.addEventListener(kind, (event) => {
    const mark = event.target.closest("[data-text]");
    told.textContent = mark ? mark.dataset.text : "";
  });
}
"""


def page(tests: Sequence[Told]) -> str:
    """The whole page; what failed comes first and is open."""
    order = {"failed": 0, "error": 0}
    ordered = sorted(tests, key=lambda told: order.get(told["outcome"], 1))
    counts = Counter(told["outcome"] for told in tests)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Whatever stands in a name, nothing is ever loaded.
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>Token timelines</title><style>{_STYLE}</style></head><body>",
            "<h1>Token timelines</h1>",
            f'<p class="sum">{summary or "No test asked a fake auth server."}</p>',
            f'<ul class="legend">{"".join(_legend())}</ul>',
            *map(_test, ordered),
            f'<p id="told" role="status"></p><script>{_SCRIPT}</script>',
            "</body></html>",
            "",
        ]
    )


def _legend() -> Iterator[str]:
    for kind, name in _NAMES.items():
        yield (
            f'<li><svg width="22" height="22" viewBox="-11 -11 22 22" aria-hidden="true">'
            f'<g class="mark {kind}">{_SHAPES[kind]}</g></svg>{name}</li>'
        )


def _test(told: Told) -> str:
    outcome = told["outcome"]
    is_open = " open" if outcome in {"failed", "error"} else ""
    figures = "".join(map(_figure, told["stories"]))
    return (
        f'<details class="test {outcome}"{is_open}><summary><span class="outcome">{outcome}</span> '
        f"{escape(told['test'])}</summary>{figures}</details>"
    )


def _figure(story: Story) -> str:
    places = list(_places(story["offsets"]))
    width = _LABELS + places[-1] + _STEP
    height = _TOP + _LANE * len(story["lanes"])
    left_out = story["left_out"]
    more = f", the first {left_out} happenings left out" if left_out else ""
    foot = ", ".join(filter(None, [f"from {story['start']}", story["footer"]])) + more
    return "\n".join(
        [
            f'<figure><div class="scroll"><svg width="{width}" height="{height}">',
            *_lanes(story, width),
            *_times(story, places, height),
            *_lives(story, places),
            *_marks(story, places),
            f'</svg></div><figcaption class="foot">{escape(foot)}</figcaption></figure>',
        ]
    )


def _places(offsets: Sequence[float]) -> Iterator[int]:
    """Where each happening stands, and where the picture ends: wide apart if time has passed."""
    place, before = _STEP, offsets[0]
    for offset in offsets:
        place += _JUMP if offset != before else 0
        yield place
        place, before = place + _STEP, offset
    yield place


def _lanes(story: Story, width: int) -> Iterator[str]:
    for number, lane in enumerate(story["lanes"]):
        top = _TOP + number * _LANE
        parity = "even" if number % 2 else "odd"
        short = lane if len(lane) <= _LETTERS else f"{lane[:_HEAD]}…{lane[_HEAD + 1 - _LETTERS :]}"
        yield (
            f'<rect class="lane {parity}" y="{top}" width="{width}" height="{_LANE}"/>'
            f'<text x="8" y="{top + _LANE // 2 + 5}">{escape(short)}'
            f"<title>{escape(lane)}</title></text>"
        )


def _times(story: Story, places: Sequence[int], height: int) -> Iterator[str]:
    before = None
    for place, offset in zip(places, story["offsets"], strict=False):
        if offset != before:
            x = _LABELS + place - _STEP // 2
            yield f'<line class="jump" x1="{x}" x2="{x}" y1="{_TOP - 8}" y2="{height}"/>'
            yield f'<text class="time" x="{x}" y="{_TOP - 12}">{_duration(offset)}</text>'
        before = offset


def _duration(seconds: float) -> str:
    for limit, unit, name in _UNITS:
        if abs(seconds) < limit:
            return f"{seconds / unit:+.1f}{name}"
    return f"{seconds / _DAY:+.1f} d"


def _lives(story: Story, places: Sequence[int]) -> Iterator[str]:
    for life in story["lives"]:
        x, end = _LABELS + places[life["begin"]], _LABELS + places[life["end"]]
        end -= _BEFORE if life["is_over"] else 0
        y = _TOP + life["lane"] * _LANE + _LANE // 2 - 5
        text = escape(life["text"])
        yield (
            f'<rect class="life" x="{x}" y="{y}" width="{end - x}" height="10" '
            f'data-text="{text}"><title>{text}</title></rect>'
        )


def _marks(story: Story, places: Sequence[int]) -> Iterator[str]:
    for mark in story["marks"]:
        # A token has ended in the time that passed before the happening that shows it.
        x = _LABELS + places[mark["place"]] - (_BEFORE if mark["kind"] == "expiry" else 0)
        y = _TOP + mark["lane"] * _LANE + _LANE // 2
        text = escape(mark["text"])
        yield (
            f'<g class="mark {mark["kind"]}" tabindex="0" transform="translate({x} {y})" '
            f'data-text="{text}"><title>{text}</title>{_SHAPES[mark["kind"]]}</g>'
        )
