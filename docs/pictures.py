"""What each label model takes the world to be, drawn as a plate diagram: a few lines per model, one function that draws them.

A round node is unknown, a filled one is seen, a square one is given. A frame repeats what is inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from steelyard.report.palette import css, escape

ACROSS, DOWN, RADIUS, MARGIN = 132, 112, 23, 26
# Which colour of the report stands for which part of a model.
COLOURS = {"class": "student", "vote": "weak", "seen": "quiet", "source": "ceiling", "given": "faint", "twist": "wrong"}


@dataclass(frozen=True)
class Node:
    """A quantity: its symbol ("y_t" has an index), its name, its place on the grid, and the part it plays (see `COLOURS`)."""

    symbol: str
    name: str
    x: float
    y: float = 0
    part: str = "source"


@dataclass(frozen=True)
class Plate:
    """A frame around some nodes; `wide` and `tall` grow it where it crosses another one, `side` says where its name goes."""

    name: str
    around: str
    wide: float = 0
    tall: float = 0
    side: str = "left"


@dataclass(frozen=True)
class Picture:
    """Nodes by key; edges "a > b" (b depends on a), "a - b" (said together), "a ~ b" (computed in turn), each with an optional name."""

    nodes: dict[str, Node]
    edges: tuple[str, ...]
    plates: tuple[Plate, ...] = field(default=())


def draw(picture: Picture) -> str:
    """The picture as SVG that stands alone."""
    places = {key: (node.x * ACROSS, node.y * DOWN) for key, node in picture.nodes.items()}
    frames = [_frame(plate, places) for plate in picture.plates]
    boxes = [*frames, *((x - 46, y - 30, x + 46, y + 44) for x, y in places.values())]
    left, top = min(box[0] for box in boxes) - MARGIN, min(box[1] for box in boxes) - MARGIN
    width, height = max(box[2] for box in boxes) + MARGIN - left, max(box[3] for box in boxes) + MARGIN - top
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} {top:.0f} {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" font-family="Georgia, \'Times New Roman\', serif" text-anchor="middle">'
    ]
    parts += [_drawn_frame(plate, box) for plate, box in zip(picture.plates, frames, strict=True)]
    parts += [_drawn_edge(edge, picture.nodes, places) for edge in picture.edges]
    parts += [_drawn_node(node, *places[key]) for key, node in picture.nodes.items()]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _frame(plate: Plate, places: dict[str, tuple[float, float]]) -> tuple[float, float, float, float]:
    xs, ys = zip(*(places[key] for key in plate.around.split()), strict=True)
    aside, above = 50 + plate.wide, 36 + plate.tall
    return min(xs) - aside, min(ys) - above, max(xs) + aside, max(ys) + above + 28


def _drawn_frame(plate: Plate, box: tuple[float, float, float, float]) -> str:
    left, top, right, bottom = box
    x, anchor = (left + 10, "start") if plate.side == "left" else (right - 10, "end")
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" height="{bottom - top:.0f}" rx="9" fill="none" '
        f'stroke="{css("faint")}" stroke-width="1.1"/>'
        f'<text x="{x:.0f}" y="{bottom - 8:.0f}" font-size="12.5" font-style="italic" text-anchor="{anchor}" fill="{css("quiet")}">'
        f"{escape(plate.name)}</text>"
    )


def _drawn_node(node: Node, x: float, y: float) -> str:
    colour = css(COLOURS[node.part])
    seen = node.part in ("vote", "seen")
    if node.part == "given":
        shape = f'<rect x="{x - 19:.0f}" y="{y - 19:.0f}" width="38" height="38" rx="4" fill="#fff" stroke="{colour}" stroke-width="1.6"/>'
    else:
        # White below the tint, so that no frame or arrow shows through.
        shape = f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{RADIUS}" fill="#fff"/>'
        tint = f'fill="{colour}" fill-opacity="{0.26 if seen else 0.05}"'
        shape += f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{RADIUS}" {tint} stroke="{colour}" stroke-width="1.9"/>'
    symbol, _, index = node.symbol.partition("_")
    small = f'<tspan dy="4.5" font-size="12">{escape(index)}</tspan>' if index else ""
    letters = f'<text x="{x:.0f}" y="{y + 6:.0f}" font-size="18" font-style="italic" fill="{css("ink")}">{escape(symbol)}{small}</text>'
    name = f'<text x="{x:.0f}" y="{y + RADIUS + 16:.0f}" font-size="12.5" fill="{css("ink")}" {_HALO}>{escape(node.name)}</text>'
    return shape + letters + name


_HALO = 'stroke="#fff" stroke-width="4" paint-order="stroke"'


def _drawn_edge(edge: str, nodes: dict[str, Node], places: dict[str, tuple[float, float]]) -> str:
    start, kind, end, *words = edge.split(" ")
    (x1, y1), (x2, y2) = places[start], places[end]
    length = math.hypot(x2 - x1, y2 - y1)
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    gap = RADIUS + 5
    # The lower end keeps clear of the name below its node.
    gaps = [gap + (20 if abs(uy) > 0.9 and (y2 > y1) == lower else 0) for lower in (True, False)]
    x1, y1, x2, y2 = x1 + gaps[0] * ux, y1 + gaps[0] * uy, x2 - gaps[1] * ux, y2 - gaps[1] * uy
    bend = 0.0 if kind in (">", "-") else 0.24 * length
    cx, cy = (x1 + x2) / 2 + bend * uy, (y1 + y2) / 2 - bend * ux
    dashes = "" if kind == ">" else ' stroke-dasharray="5 4"'
    colour = css("ink" if kind == ">" else "wrong")
    line = f'<path d="M{x1:.1f} {y1:.1f} Q{cx:.1f} {cy:.1f} {x2:.1f} {y2:.1f}" fill="none" stroke="{colour}" stroke-width="1.4"{dashes}/>'
    if kind != "-":
        tx, ty = x2 - cx, y2 - cy
        size = math.hypot(tx, ty)
        line += _arrow_head(x2, y2, tx / size, ty / size, colour)
    if words:
        upright = abs(uy) > 0.5
        x, y = (cx + 8, cy + 4) if upright else ((x1 + x2 + 2 * cx) / 4, (y1 + y2 + 2 * cy) / 4 + (16 if ux < 0 else -7))
        anchor = "start" if upright else "middle"
        line += (
            f'<text x="{x:.0f}" y="{y:.0f}" font-size="12" text-anchor="{anchor}" fill="{colour}" {_HALO}>{escape(" ".join(words))}</text>'
        )
    return line


def _arrow_head(x: float, y: float, ux: float, uy: float, colour: str) -> str:
    back, half = 9, 4
    points = [(x, y), (x - back * ux + half * uy, y - back * uy - half * ux), (x - back * ux - half * uy, y - back * uy + half * ux)]
    return f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" fill="{colour}"/>'


# The pictures

PRIOR, CLASS, VOTE = Node("p", "class prior", 0), Node("y", "class", 1, part="class"), Node("L", "vote", 2, part="vote")
GIVEN_PRIOR = Node("p", "class prior", 0, part="given")
CONFUSIONS = Node("θ", "confusions", 3)
ROWS, SOURCES = Plate("rows", "y L"), Plate("sources", "L s", tall=14, side="right")
ANSWER, AGREEMENT = Node("y", "answer", 0, part="class"), Node("w", "weight", 0)
USUAL = ("p > y", "y > L", "s > L")


def _usual(source: Node, prior: Node = GIVEN_PRIOR) -> Picture:
    return Picture({"p": prior, "y": CLASS, "L": VOTE, "s": source}, USUAL, (ROWS, SOURCES))


def _agreement(answer: Node, weight: Node, there: str, back: str = "", rows: str = "rows", seen: str = "vote") -> Picture:
    """An answer and weights that are computed from each other, both by looking at the votes."""
    nodes = {"y": replace(answer, x=0), "w": replace(weight, x=2.6), "L": Node("L", seen, 1.3, 1.15, "vote")}
    edges = ("L > y", "L > w", f"y ~ w {there}", f"w ~ y {back}" if back else "w > y")
    who = "annotators" if rows == "pictures" else "sources"
    return Picture(nodes, edges, (Plate(rows, "y L", tall=26), Plate(who, "L w", wide=-4, tall=38, side="right")))


def _several(n: int, dashed: tuple[str, ...]) -> Picture:
    """One class and the sources whose votes are counted together."""
    letters = "ijl"[:n]
    middle = (n - 1) / 2
    nodes = {"p": Node("p", "class prior", 0, middle, "given"), "y": Node("y", "class", 1, middle, "class")}
    nodes |= {f"L{s}": Node(f"L_{s}", f"vote of {s}", 2.1, i, "vote") for i, s in enumerate(letters)}
    nodes |= {f"m{s}": Node(f"μ_{s}", "confusions", 3.2, i) for i, s in enumerate(letters)}
    edges = ("p > y", *(f"y > L{s}" for s in letters), *(f"m{s} > L{s}" for s in letters), *dashed)
    return Picture(nodes, edges, (Plate("rows", "y " + " ".join(f"L{s}" for s in letters)),))


def _chain(embedded: bool) -> Picture:
    nodes = {
        "T": Node("T", "moves between tags", 0, 0),
        "a": Node("y_t-1", "tag", 1, 0, "class"),
        "b": Node("y_t", "tag", 2.2, 0, "class"),
        "u": Node("L_t-1", "vote", 1, 1.1, "vote"),
        "v": Node("L_t", "vote", 2.2, 1.1, "vote"),
        "E": Node("E", "confusions", 3.4, 1.1),
    }
    edges: tuple[str, ...] = ("T > a", "a > b", "a > u", "b > v", "E > v")
    if embedded:
        nodes["e"] = Node("e_t", "embedding", 3.4, 0, "seen")
        edges += ("b - e tilts", "e - E tilts")
    inside = "a b u v e" if embedded else "a b u v"
    return Picture(nodes, edges, (Plate("documents", inside, wide=8, tall=18), Plate("sources", "u v E", wide=22, side="right")))


def _pixels(source: Node) -> Picture:
    nodes = {"y": Node("y", "pixel's class", 0, part="class"), "L": Node("L", "pixel in a mask", 1.2, part="vote"), "s": source}
    return Picture(nodes, ("y > L", "s > L"), (Plate("pixels of all pictures", "y L"), Plate("annotators", "L s", tall=14, side="right")))


def _average(centre: str, weights: Node, edges: tuple[str, ...]) -> Picture:
    nodes = {
        "t": Node("ê", centre, 0, part="class"),
        "e": Node("e", "embedded answer", 1.3, part="vote"),
        "s": weights,
    }
    return Picture(nodes, edges, (Plate("tasks", "t e"), Plate("workers", "e s", tall=14, side="right")))


PICTURES = {
    "MajorityVote": _usual(Node("w", "weight", 3, part="given")),
    "DawidSkene": _usual(CONFUSIONS, PRIOR),
    "MeTaL": _several(2, ("Li - Lj pairs",)),
    "TripletModel": _several(3, ("Li - Lj triples", "Lj - Ll triples")),
    "SequenceHMM": _chain(embedded=False),
    "ConditionalHMM": _chain(embedded=True),
    "HyperLabelModel": Picture(
        {
            "X": Node("L", "whole vote matrix", 0, 0, "vote"),
            "f": Node("f", "network", 1.3, 0, "given"),
            "y": Node("y", "class of every row", 2.6, 0, "class"),
            "S": Node("S", "synthetic votes", 1.3, 1.1, "seen"),
        },
        ("X > f", "f > y", "S > f trained once"),
        (Plate("your data", "X f y", wide=14),),
    ),
    "IBCC": Picture(
        {"p": PRIOR, "y": CLASS, "L": VOTE, "s": CONFUSIONS, "A": Node("A", "belief", 4.1, part="given")},
        (*USUAL, "A > s"),
        (ROWS, SOURCES),
    ),
    "EBCC": Picture(
        {
            "p": Node("p", "class prior", 0, 0),
            "y": Node("y", "class", 1, 0, "class"),
            "pi": Node("π", "share of subtypes", 0, 1.1, "twist"),
            "z": Node("z", "subtype", 1, 1.1, "twist"),
            "L": Node("L", "vote", 2.1, 0.55, "vote"),
            "s": Node("θ", "confusions per subtype", 3.3, 0.55),
        },
        ("p > y", "pi > z", "y > z", "y > L", "z > L", "s > L"),
        (Plate("rows", "y z L"), Plate("sources", "L s", wide=18, tall=8, side="right")),
    ),
    "GLAD": Picture(
        {"p": GIVEN_PRIOR, "y": CLASS, "L": Node("L", "vote", 2, 0.5, "vote"), "d": Node("β", "ease of the row", 1, 1, "twist")}
        | {"s": Node("α", "ability", 3, 0.5)},
        ("p > y", "y > L", "d > L", "s > L"),
        (Plate("rows", "y L d"), Plate("sources", "L s", tall=6, side="right")),
    ),
    "MACE": Picture(
        {"p": GIVEN_PRIOR, "y": CLASS, "L": VOTE}
        | {"k": Node("S", "knows?", 2, 1.1, "twist"), "h": Node("ξ", "habit", 3.1, 0), "s": Node("t", "competence", 3.1, 1.1)},
        ("p > y", "y > L", "k > L", "h > L", "s > k"),
        (Plate("rows", "y L k"), Plate("sources", "L k h s", tall=14, side="right")),
    ),
    "Cage": Picture(
        {"p": GIVEN_PRIOR, "y": Node("y", "class", 1, 0.5, "class"), "L": Node("t", "fires", 2, 0, "vote")}
        | {"c": Node("s", "score", 2, 1.1, "vote"), "s": Node("θ", "weight", 3.1, 0), "r": Node("ρ", "sharpness", 3.1, 1.1)}
        | {"q": Node("q", "precision guide", 4.3, 0, "given")},
        ("p > y", "y > L", "y > c", "L > c", "s > L", "r > c", "q - s"),
        (Plate("rows", "y L c"), Plate("triggers", "L c s r q", wide=8, tall=14, side="right")),
    ),
    "DataProgramming": Picture(
        {"p": Node("p", "class prior", 0, 0.55, "given"), "y": Node("y", "class", 1, 0.55, "class")}
        | {"a": Node("L_a", "vote of a", 2.1, 0, "vote"), "b": Node("L_b", "vote of b", 2.1, 1.1, "vote")}
        | {"s": Node("α_a", "accuracy", 3.5, 0), "r": Node("α_b", "accuracy", 3.5, 1.1)},
        ("p > y", "y > a", "y > b", "s > a", "r > b", "a - b declared pair"),
        (Plate("rows", "y a b", wide=10),),
    ),
    "Wawa": _agreement(ANSWER, AGREEMENT, "agreement, counted once"),
    "ZeroBasedSkill": _agreement(ANSWER, AGREEMENT, "agreement, until at rest"),
    "KOS": _agreement(
        Node("x", "label", 0, part="class"), Node("y", "reliability", 0), "labels, but not one's own", "reliabilities, but not this row's"
    ),
    "MMSR": Picture(
        {"a": Node("s_i", "skill of i", 0, 0), "b": Node("s_j", "skill of j", 0, 1.1), "C": Node("C_ij", "agreement", 1.4, 0.55, "vote")}
        | {"t": Node("×", "extremes trimmed", 2.8, 0.55, "twist")},
        ("a > C", "b > C", "t - C"),
        (Plate("pairs of sources", "a b C"),),
    ),
    "BradleyTerry": Picture(
        {"a": Node("s_i", "strength of i", 0, 0, "class"), "b": Node("s_j", "strength of j", 0, 1.1, "class")}
        | {"L": Node("L", "who won", 1.4, 0.55, "vote")},
        ("a > L", "b > L"),
        (Plate("comparisons", "a b L"),),
    ),
    "NoisyBradleyTerry": Picture(
        {"a": Node("s_i", "strength of i", 0, 0, "class"), "b": Node("s_j", "strength of j", 0, 1.1, "class")}
        | {"L": Node("L", "who won", 1.3, 0.55, "vote"), "z": Node("z", "attends?", 2.5, 0, "twist")}
        | {"n": Node("η", "reliability", 3.7, 0), "l": Node("b", "habit", 3.7, 1.1)},
        ("a > L", "b > L", "z > L", "n > z", "l > L"),
        (Plate("comparisons", "a b L z"), Plate("workers", "L z n l", tall=14, side="right")),
    ),
    "MultiLabelVote": Picture(
        {"p": Node("p", "how common", 0), "y": Node("y", "label applies?", 1.1, part="class"), "L": Node("L", "vote", 2.2, part="vote")}
        | {"s": Node("θ", "confusions", 3.3)},
        USUAL,
        (ROWS, Plate("sources", "L s", tall=14, side="right"), Plate("labels, each on its own", "p y L s", wide=14, tall=44)),
    ),
    "CrowdLab": Picture(
        {
            "m": Node("p_M", "classifier", 0, 0, "seen"),
            "L": Node("L", "vote", 0, 1.1, "vote"),
            "y": Node("y", "consensus", 1.3, 0.55, "class"),
        }
        | {"w": Node("w_M", "weight", -1.1, 0), "s": Node("w_j", "weight", -1.1, 1.1)},
        ("m > y", "L > y", "w > m", "s > L", "y ~ L agreement"),
        (Plate("rows", "m L y", side="right"), Plate("annotators", "L s", wide=14, tall=-2)),
    ),
    "ParetoHarmonizer": Picture(
        {"x": Node("x", "features", 0, 0, "seen"), "h": Node("h", "class", 1.2, 0, "class"), "L": Node("L", "vote", 2.4, 0, "vote")}
        | {
            "f": Node("f", "network", 0.6, 1.1),
            "w": Node("w", "weight", 3.7, 0, "given"),
            "G": Node("G", "aggregation", 1.8, 1.1, "given"),
        },
        ("x > h", "f > h", "h - L loss", "w > L", "L > G", "G ~ f fits"),
        (Plate("rows", "x h L", wide=8, tall=10), Plate("sources", "L w", tall=30, side="right")),
    ),
    "label_issues": Picture(
        {"y": Node("y", "true class", 1.2, 0, "class"), "g": Node("ỹ", "given label", 2.4, 0, "vote")}
        | {"x": Node("p", "classifier", 0, 0, "seen"), "Q": Node("Q", "joint of given and true", 3.8, 0)},
        ("x - y confident", "y > g", "Q > g"),
        (Plate("rows", "x y g"),),
    ),
    "SegmentationMajority": _pixels(Node("w", "weight", 2.3, part="given")),
    "SegmentationEM": _pixels(Node("θ", "confusions", 2.3)),
    "SegmentationRASA": _agreement(
        Node("y", "consensus", 0, part="class"), Node("w", "weight", 0), "overlap, until at rest", rows="pictures", seen="mask"
    ),
    "Rover": Picture(
        {"y": Node("y", "word of the slot", 0, 0, "class"), "L": Node("L", "word said, or none", 1.5, 0, "vote")}
        | {"s": Node("W", "weight", 2.9, 0), "c": Node("c", "confidence", 1.5, 1.1, "seen"), "a": Node("≈", "alignment", 0, 1.1, "twist")},
        ("y > L", "s > L", "c > L", "a > y"),
        (Plate("slots", "y L c a"), Plate("workers", "L c s", wide=14, tall=14, side="right")),
    ),
    "ClosestToAverage": _average("average", Node("β", "reliability", 2.6, part="given"), ("e > t", "s > e")),
    "Rasa": _average("truth", Node("β", "reliability", 2.6), ("t > e", "s > e")),
}
