"use strict";

const REFRESH_SECONDS = 30;
const STEPS = 240;
const COLORS = 6;
const HOUR = 3600;
const CLOCK = { hour: "2-digit", minute: "2-digit" };
const RANGES = {
  "1h": { seconds: HOUR, tick: HOUR / 6, format: CLOCK },
  "6h": { seconds: 6 * HOUR, tick: HOUR, format: CLOCK },
  "24h": { seconds: 24 * HOUR, tick: 4 * HOUR, format: CLOCK },
  "7d": { seconds: 7 * 24 * HOUR, tick: 24 * HOUR, format: { weekday: "short", day: "numeric" } },
};
// Each query takes the matchers of the chosen server and the seconds over which a rate is averaged.
const GRAPHS = [
  {
    id: "cpu",
    title: "CPU",
    // The share of all modes, as the mere rate of "idle" is too low where measurements do not fill the time.
    query: (matchers, seconds) =>
      `100 * (1 - sum by (instance) (rate(node_cpu_seconds_total{mode="idle",${matchers}}[${seconds}s]))` +
      ` / sum by (instance) (rate(node_cpu_seconds_total{${matchers}}[${seconds}s])))`,
  },
  {
    id: "memory",
    title: "Memory",
    query: (matchers) =>
      `100 * (1 - node_memory_MemAvailable_bytes{${matchers}} / node_memory_MemTotal_bytes{${matchers}})`,
  },
  {
    id: "disk",
    title: "Disk",
    label: "mountpoint",
    query: (matchers) =>
      "max by (mountpoint) (100 - 100 *" +
      ` node_filesystem_avail_bytes{fstype!~"erofs|iso9660|ramfs|squashfs|tmpfs",${matchers}}` +
      ` / node_filesystem_size_bytes{${matchers}})`,
  },
];
const LISTS = {
  "targets-down": "up == 0",
  "alerts-firing": 'ALERTS{alertstate="firing",severity!="none"}',
};
const NAMED = 3;
const MARGIN = { top: 10, right: 8, bottom: 24, left: 46 };

const byId = (id) => document.getElementById(id);
const percent = (value) => (Number.isFinite(value) ? value.toFixed(1) + " %" : "-");
const time = (seconds, format) => new Intl.DateTimeFormat([], { hourCycle: "h23", ...format }).format(seconds * 1000);

function html(name, attributes, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

async function ask(path, parameters, signal) {
  let response;
  try {
    response = await fetch("../api/v1/" + path + "?" + new URLSearchParams(parameters), { signal });
  } catch (error) {
    throw signal.aborted ? error : new Error("Prometheus does not answer.");
  }
  const body = await response.json().catch(() => ({}));
  if (body.status !== "success") throw new Error(body.error || "HTTP " + response.status + " " + response.statusText);
  return body.data.result;
}

class Graph {
  constructor(description) {
    Object.assign(this, description);
    this.drawing = svg("svg", { role: "img" });
    this.message = html("p");
    this.legend = html("ul");
    this.tooltip = html("div", { className: "tooltip", hidden: true });
    const plot = html("div", { className: "plot" }, this.drawing, this.tooltip);
    const parts = [html("h2", {}, this.title), this.message, plot, this.legend];
    byId("graphs").append(html("figure", { id: this.id, className: this.label ? "wide" : "" }, ...parts));
    this.show([], "Loading");
    new ResizeObserver(() => this.draw()).observe(this.drawing);
    for (const event of ["pointerdown", "pointermove"])
      plot.addEventListener(event, (moved) => this.point(moved.clientX - plot.getBoundingClientRect().left));
    plot.addEventListener("pointerleave", (left) => left.pointerType === "mouse" && this.point(null));
    document.addEventListener("pointerdown", (down) => plot.contains(down.target) || this.point(null));
  }

  async load(matchers, window, range, now, signal) {
    const step = range.seconds / STEPS;
    const asked = { start: now - range.seconds, end: now, step };
    try {
      const [found, last] = await Promise.all([
        ask("query_range", { query: this.query(matchers, Math.max(window, step)), ...asked }, signal),
        ask("query", { query: this.query(matchers, window), time: now }, signal),
      ]);
      const name = (series) => (this.label ? series.metric[this.label] : this.title);
      const current = new Map(last.map((series) => [name(series), Number(series.value[1])]));
      const series = found
        .map((series) => ({
          name: name(series),
          now: current.get(name(series)),
          points: series.values.map(([at, value]) => [at, Number(value)]).filter((point) => Number.isFinite(point[1])),
        }))
        .sort((one, other) => one.name.localeCompare(other.name));
      Object.assign(this, { range, step, start: asked.start });
      this.show(series, series.length ? "" : "No data in this range.");
    } catch (error) {
      if (signal.aborted) return;
      this.show([], error.message, "failure");
    }
    byId(this.id + "-now").textContent = percent(Math.max(...this.series.map((series) => series.now ?? -Infinity)));
  }

  show(series, message, kind = "message") {
    this.series = series;
    Object.assign(this.message, { textContent: message, className: kind, hidden: !message });
    this.drawing.toggleAttribute("hidden", Boolean(message));
    const values = series.map((one) => (this.label ? one.name + " " : "") + percent(one.now));
    this.drawing.setAttribute("aria-label", this.title + " now: " + values.join(", "));
    this.legend.replaceChildren(...series.map((one, index) => this.entry(index, one.name, one.now)));
    this.draw();
  }

  entry(index, name, value) {
    const made = html("li", {}, html("span", {}, name), html("b", {}, percent(value)));
    made.style.setProperty("--series", "var(--series-" + (index % COLORS) + ")");
    return made;
  }

  x(at) {
    return MARGIN.left + ((at - this.start) / this.range.seconds) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(value) {
    const height = this.height - MARGIN.top - MARGIN.bottom;
    return MARGIN.top + (1 - Math.min(Math.max(value, 0), 100) / 100) * height;
  }

  draw() {
    this.drawing.replaceChildren();
    this.width = this.drawing.clientWidth;
    this.height = this.drawing.clientHeight;
    if (!this.series.length || !this.width) return this.point(null);
    for (const value of [0, 25, 50, 75, 100]) {
      const y = this.y(value);
      this.drawing.append(
        svg("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }),
        svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, value + " %"),
      );
    }
    const ticks = this.ticks();
    const every = Math.ceil((ticks.length * 56) / (this.width - MARGIN.left));
    for (const at of ticks.filter((tick, index) => index % every === 0)) {
      const text = time(at, this.range.format);
      this.drawing.append(svg("text", { x: this.x(at), y: this.height - 4, "text-anchor": "middle" }, text));
    }
    this.series.forEach((series, index) => {
      const group = svg("g", { style: "--series: var(--series-" + (index % COLORS) + ")" });
      for (const part of this.parts(series.points)) {
        const line = "M" + part.map(([at, value]) => this.x(at).toFixed(1) + "," + this.y(value).toFixed(1)).join("L");
        const [first, last] = [part[0], part[part.length - 1]].map((point) => this.x(point[0]).toFixed(1));
        if (!this.label) group.append(svg("path", { class: "area", d: line + "V" + this.y(0) + "H" + first + "Z" }));
        group.append(svg("path", { class: part.length > 1 ? "line" : "line dot", d: line + "H" + last }));
      }
      this.drawing.append(group);
    });
    this.cursor = svg("line", { class: "cursor", y1: MARGIN.top, y2: this.y(0) });
    this.drawing.append(this.cursor);
    this.point(this.pointed);
  }

  // Times at full local hours or days that have room for their text.
  ticks() {
    const offset = new Date(this.start * 1000).getTimezoneOffset() * 60;
    const { tick, seconds } = this.range;
    const first = Math.ceil((this.start - offset) / tick) * tick + offset;
    const ticks = Array.from({ length: Math.ceil(seconds / tick) }, (item, index) => first + index * tick);
    return ticks.filter((at) => this.x(at) > MARGIN.left + 16 && this.x(at) < this.width - 24);
  }

  // Where a measurement is missing, the line is interrupted.
  parts(points) {
    const parts = [];
    points.forEach((point, index) => {
      if (!index || point[0] - points[index - 1][0] > 1.5 * this.step) parts.push([]);
      parts[parts.length - 1].push(point);
    });
    return parts;
  }

  point(x) {
    this.pointed = x;
    this.tooltip.hidden = x === null || x === undefined || !this.series.length;
    this.cursor?.toggleAttribute("hidden", this.tooltip.hidden);
    if (this.tooltip.hidden) return;
    const share = (x - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    const at = this.start + Math.round(Math.min(Math.max(share, 0), 1) * STEPS) * this.step;
    const rows = this.series.map((series, index) => {
      const found = series.points.find((point) => Math.abs(point[0] - at) < this.step / 2);
      return this.entry(index, series.name, found?.[1]);
    });
    this.tooltip.replaceChildren(time(at, { dateStyle: "medium", timeStyle: "short" }), html("ul", {}, ...rows));
    this.cursor.setAttribute("x1", this.x(at));
    this.cursor.setAttribute("x2", this.x(at));
    this.tooltip.style.left = share < 0.5 ? this.x(at) + 12 + "px" : "auto";
    this.tooltip.style.right = share < 0.5 ? "auto" : this.width - this.x(at) + 12 + "px";
  }
}

const form = byId("choice");
const graphs = GRAPHS.map((description) => new Graph(description));
// What has been asked before the choice changed is of no use any more.
let loading = new AbortController();

async function list(id, now, signal) {
  const found = await ask("query", { query: LISTS[id], time: now }, signal);
  const names = found.map(({ metric }) => [metric.alertname ?? metric.job, metric.instance].filter(Boolean).join(" "));
  const more = names.length > NAMED ? [names.length - NAMED + " more"] : [];
  const number = byId(id);
  number.textContent = names.length;
  number.classList.toggle("bad", names.length > 0);
  number.nextElementSibling.textContent = [...names.slice(0, NAMED), ...more].join(", ");
}

async function refresh() {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const failure = byId("failure");
  const instance = form.elements.instance.value;
  const matchers = "instance=" + JSON.stringify(instance);
  try {
    if (!instance) throw new Error("No server is measured: Prometheus has no node_boot_time_seconds of the last 7 days.");
    // The server's clock, as the browser's may be wrong
    const [now] = await ask("query", { query: "time()" }, signal);
    const range = RANGES[form.elements.range.value];
    const window = Number(byId("overview").dataset.window);
    await Promise.all([
      ...graphs.map((graph) => graph.load(matchers, window, range, now, signal)),
      ...Object.keys(LISTS).map((id) => list(id, now, signal)),
    ]);
    failure.hidden = true;
    const updated = time(now, { timeStyle: "medium" });
    byId("updated").textContent = `Updated at ${updated}, again every ${REFRESH_SECONDS} seconds.`;
  } catch (error) {
    if (signal.aborted) return;
    Object.assign(failure, { textContent: error.message, hidden: false });
    for (const graph of graphs) if (!graph.series.length) graph.show([], "No data.");
  }
  const rows = graphs.flatMap((graph) => graph.series.map((series) => [graph, series]));
  byId("values").replaceChildren(
    ...rows.map(([graph, series]) => {
      const name = graph.label ? graph.title + " " + series.name : series.name;
      return html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, percent(series.now)));
    }),
  );
}

// One that does not exist changes nothing.
form.elements.range.value = new URLSearchParams(location.search).get("range");
form.addEventListener("change", () => {
  history.replaceState(null, "", "?" + new URLSearchParams(new FormData(form)));
  refresh();
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
setInterval(() => document.hidden || refresh(), REFRESH_SECONDS * 1000);
refresh();
