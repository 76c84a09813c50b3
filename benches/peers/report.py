"""Reads raw results and writes tables and plots of them into docs/."""

import json
import platform
from collections import defaultdict
from pathlib import Path
from statistics import median

import plots
from install import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "plots"
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


def processor():
    """The name of the processor, as Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


class Results:
    """All lines of some raw files."""

    def __init__(self, paths):
        lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
        self.paths = paths
        self.run = next(line for line in lines if "machine" in line)
        self.servers = {line["server"]: line for line in lines if "version" in line}
        self.missing = {line["server"]: line for line in lines if "missing" in line}
        self.errors = [line for line in lines if "error" in line]
        self.measured = [line for line in lines if "phase" in line]
        # (server, kind, phase, connections) -> round -> lines; the floor has several in a round.
        self.cells = defaultdict(lambda: defaultdict(list))
        for line in self.measured:
            key = (line["server"], line["kind"], line["phase"], line["connections"])
            self.cells[key][line["round"]].append(line)

    def connections(self):
        return sorted({line["connections"] for line in self.measured if line["kind"] == "crowd"})

    def by_round(self, server, kind, phase, connections, field):
        cell = self.cells.get((server, kind, phase, connections), {})
        return {number: median(line[field] for line in lines) for number, lines in cell.items()}

    def absolute(self, *key):
        """Median, least and most over the rounds, or None."""
        return spread(self.by_round(*key).values())

    def ratio(self, server, kind, phase, connections, field, to="floor", to_kind=None, to_phase=None):
        """The same, each divided by what another server had in the same round."""
        own = self.by_round(server, kind, phase, connections, field)
        other = self.by_round(to, to_kind or kind, to_phase or phase, connections, field)
        return spread(own[number] / other[number] for number in own if other.get(number))


def spread(values):
    values = sorted(values)
    return (median(values), values[0], values[-1]) if values else None


def number(value):
    """Three significant digits, with separators."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(spread, scale=1.0, unit=""):
    if spread is None:
        return "-"
    middle, low, high = (value * scale for value in spread)
    around = f" ({number(low)}-{number(high)})" if number(low) != number(high) else ""
    return f"{number(middle)}{unit}{around}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def label(results, server):
    name = results.servers[server]["label"]
    return f"**{name}**" if server.startswith("node") else name


def fan_out(results, n):
    """One event to all, in its three rhythms, and the overload where it was run."""
    overloaded = ("floor", "crowd", "overload", n) in results.cells
    head = ["", "one event at a time", "burst of 40", "open loop: p50", "p99"]
    if overloaded:
        head += ["overload: CPU", "deliveries a second", "p99, ms"]
    rows = []
    for server in results.servers:
        if server == "floor":
            cpu = lambda phase: cell(results.absolute(server, "crowd", phase, n, "cpu_us_per_delivery"), unit=" us")
            wait = lambda field: cell(results.absolute(server, "crowd", "open", n, field), unit=" ms")
        else:
            cpu = lambda phase: cell(results.ratio(server, "crowd", phase, n, "cpu_us_per_delivery"))
            wait = lambda field: cell(results.ratio(server, "crowd", "open", n, field))
        row = [label(results, server), cpu("closed"), cpu("burst"), wait("p50_ms"), wait("p99_ms")]
        if overloaded:
            rate = results.absolute(server, "crowd", "overload", n, "deliveries_per_s")
            late = results.absolute(server, "crowd", "overload", n, "p99_ms")
            row += [cpu("overload"), cell(rate, 1e-3, "k"), cell(late)]
        rows.append((results.ratio(server, "crowd", "closed", n, "cpu_us_per_delivery"), row))
    rows.sort(key=lambda row: (row[1][0] != "floor", row[0] or (1e9,)))
    return table(head, [row for _, row in rows])


def connecting(results, n):
    head = ["", "memory of the process per connection", "CPU per connection: upgrade only", "until subscribed", "connections a second"]
    rows = []
    for server in results.servers:
        kind, phase = ("upgrade", "upgrade") if (server, "upgrade", "upgrade", n) in results.cells else ("crowd", "storm")
        field = "cpu_us_per_connection"
        if server == "floor":
            upgrade = subscribed = cell(results.absolute(server, "crowd", "storm", n, field), unit=" us")
        else:
            upgrade = cell(results.ratio(server, kind, phase, n, field, to_kind="crowd", to_phase="storm"))
            subscribed = cell(results.ratio(server, "crowd", "storm", n, field))
        memory = results.absolute(server, "crowd", "storm", n, "rss_bytes_per_connection")
        rate = results.absolute(server, "crowd", "storm", n, "connections_per_s")
        rows.append((memory or (1e12,), [label(results, server), cell(memory, unit=" B"), upgrade, subscribed, cell(rate)]))
    rows.sort(key=lambda row: row[0])
    return table(head, [row for _, row in rows])


def ingest(results):
    rows = []
    field = "cpu_us_per_delivery"
    kinds = sorted({(key[0], key[1]) for key in results.cells if key[1].startswith("ingest")})
    floor = next((kind for server, kind in kinds if server == "floor"), None)
    for server, kind in kinds:
        own = results.absolute(server, kind, "ingest", 1, field)
        price = results.ratio(server, kind, "ingest", 1, field, to_kind=floor)
        rate = results.absolute(server, kind, "ingest", 1, "deliveries_per_s")
        shown = cell(own, unit=" us") if server == "floor" else cell(price)
        rows.append((price or (1e9,), [label(results, server), kind.split(": ", 1)[1], shown, cell(rate)]))
    rows.sort(key=lambda row: row[0])
    return table(["", "way in", "CPU per event", "events a second"], [row for _, row in rows])


def against_bun(results):
    """The node's targets that are stated in terms of Bun."""
    if not {"node", "bun"} <= results.servers.keys():
        return None
    n = results.connections()[-1]
    figures = [("a burst of 40, CPU", "burst", "cpu_us_per_delivery"), ("overload, CPU", "overload", "cpu_us_per_delivery"),
               ("overload, p99", "overload", "p99_ms")]
    lines = []
    for node in [name for name in ("node", "node-window") if name in results.servers]:
        words = [f"{name} {cell(results.ratio(node, 'crowd', phase, n, field, to='bun'))}" for name, phase, field in figures]
        lines.append(f"{label(results, node)} / Bun in the same round, {n:,} connections: {'; '.join(words)}.")
    return "\n\n".join(lines)


def account(results):
    """What went missing or was late, in words."""
    phases = [line for line in results.measured if "expected" in line]
    expected = sum(line["expected"] for line in phases)
    lines = [f"{expected:,} deliveries were due, {sum(max(line['lost'], 0) for line in phases):,} of them never came."]
    for line in phases:
        faults = [f"{line[name]:,} {name}" for name in ("lost", "disordered", "refused", "ended") if line[name]]
        if faults:
            where = f"{results.servers[line['server']]['label']}, round {line['round']}, {line['phase']} at {line['connections']:,}"
            lines.append(f"{where}: {', '.join(faults)}{': ' + line['reason'] if line['reason'] else ''}.")
    for line in results.errors:
        lines.append(f"{results.servers[line['server']]['label']}, round {line['round']}, {line['kind']}: {line['error']}.")
    busy = sorted({(results.servers[line["server"]]["label"], line["phase"]) for line in phases if line["generator_busy"] > 0.9})
    if busy:
        named = ", ".join(f"{name} ({phase})" for name, phase in busy)
        lines.append(f"The generator was busy for more than 90 % of the time, so rates and latencies are also its own: {named}.")
    slips = sorted({f"{line['slip_ms']:.0f} ms at {results.servers[line['server']]['label']}" for line in phases
                    if line["open_loop"] and line["slip_ms"] > 20})
    if slips:
        lines.append(f"Latency counts from the due time; the generator published later than due by up to {', '.join(slips)}.")
    return "\n".join(f"- {line}" for line in lines)


def configuration(results):
    rows = [[line["label"], line["version"], line["notes"]] for line in results.servers.values()]
    text = table(["", "version", "configuration"], rows)
    for line in results.missing.values():
        text += f"\n\nNot run: {line['label']}: {line['missing']}"
    return text


def tables(paths):
    """Everything, as Markdown."""
    results = Results(paths)
    loads = [line["load"] for line in results.measured]
    rounds = max(line["round"] for line in results.measured)
    quick = ", short phases: good for nothing but a look" if results.run["quick"] else ""
    parts = [
        f"{results.run['date']}, {results.run['machine']}; {rounds} rounds{quick}; load average {min(loads):.1f} to "
        f"{max(loads):.1f}. Raw: {', '.join(f'`{path.name}`' for path in paths)}. The floor in absolute figures, all others as "
        "multiples of it unless they have a unit; medians (least-most) of the rounds."
    ]
    for n in results.connections()[::-1]:
        parts += [f"#### {n:,} connections: CPU per delivery and latency", fan_out(results, n)]
        parts += [f"#### {n:,} connections: memory and connecting", connecting(results, n)]
    parts += ["#### Ingest: one subscriber", ingest(results)]
    parts += filter(None, [against_bun(results)])
    parts += ["#### What went missing", account(results), "#### Versions and configuration", configuration(results)]
    return "\n\n".join(parts)


def pictures(results):
    """The plots, as (file, title, text)."""
    n = results.connections()[-1]
    names = [server for server in results.servers if not server.startswith("floor")]

    def bars(title, unit, figure, logarithmic=False):
        found = [(results.servers[server]["label"], figure(server), server.startswith("node")) for server in names]
        found = sorted((row for row in found if row[1]), key=lambda row: row[1][0])
        return plots.bars(title, unit, found, logarithmic)

    cpu = lambda phase: lambda server: results.ratio(server, "crowd", phase, n, "cpu_us_per_delivery")
    yield "peers-cpu.svg", bars(f"CPU per delivery, one event at a time, {n:,} connections", "x floor", cpu("closed"))
    yield "peers-burst.svg", bars(f"CPU per delivery, 40 events back to back, {n:,} connections", "x floor", cpu("burst"), True)
    memory = lambda server: results.absolute(server, "crowd", "storm", n, "rss_bytes_per_connection")
    yield "peers-memory.svg", bars(f"Memory of the process per connection, {n:,} connections", "bytes", memory, True)
    late = lambda server: results.absolute(server, "crowd", "overload", n, "p99_ms")
    if any(map(late, names)):
        yield "peers-overload.svg", bars("p99 at 400,000 deliveries a second", "ms", late, True)


def write(paths):
    """Puts tables into docs/benchmarks.md, between its marks, and plots beside it."""
    results = Results(paths)
    PLOTS.mkdir(parents=True, exist_ok=True)
    links = []
    for name, (title, text) in pictures(results):
        (PLOTS / name).write_text(text)
        links.append(f"![{title}](plots/{name})")
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(paths)}\n\n" + "\n".join(links) + f"\n\n{END}{after}")
    print(f"written: {PAGE}")
