// How the page shows things. Whatever comes from the broker is shown as text and never as HTML, since names of locks and
// owners are anybody's words.

/** The number of rates that a line shows. */
const RATES = 60;

const SVG = "http://www.w3.org/2000/svg";

/** Sets a text where it has changed, so that selections stay and nothing is announced twice. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Writes a time as people do: `3 m 20 s`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3_600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

export const count = (number) => number.toLocaleString("en");
export const rate = (number) => (number < 9.95 ? number.toFixed(1) : count(Math.round(number)));
export const now = () => performance.now() / 1_000;

/** The states, as people read them, and how they look. */
const STATES = {
  open: ["Open", "good"],
  closed: ["Closed", "busy"],
  connecting: ["Connecting", "busy"],
  refused: ["Refused", "off"],
  held: ["Held", "good"],
  claimed: ["Claimed", "busy"],
  lingering: ["Lingering", "busy"],
  revoked: ["Revoked", "off"],
};

export function showState(node, [text, look]) {
  const className = `state ${look}`;
  if (node.className !== className) node.className = className;
  setText(node, text);
}

/**
 * A table whose rows stay the same nodes from one answer to the next. A column has a label; `text(row, age)`, where `age` is
 * how many seconds ago the row was true, and "" where nothing is known; and how it looks.
 */
export class Table {
  constructor(section, key, columns) {
    this.table = document.querySelector(`#${section} table`);
    this.key = key;
    this.columns = columns;
    this.rows = new Map();
    const head = this.table.createTHead().insertRow();
    for (const column of columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = column.label;
      head.append(cell);
    }
    this.body = this.table.createTBody();
  }

  /** Shows these rows, in this order, which were true at `since`. */
  show(rows, since) {
    const before = this.rows;
    this.rows = new Map();
    for (const [index, data] of rows.entries()) {
      const key = this.key(data);
      const row = before.get(key) ?? this.make();
      before.delete(key);
      row.data = data;
      row.since = since;
      this.rows.set(key, row);
      const there = this.body.rows[index];
      if (there !== row.node) this.body.insertBefore(row.node, there ?? null);
    }
    for (const row of before.values()) row.node.remove();
    this.table.hidden = rows.length === 0;
    this.tick();
  }

  make() {
    const node = document.createElement("tr");
    const cells = this.columns.map((column, index) => {
      const cell = document.createElement(index === 0 ? "th" : "td");
      if (index === 0) cell.scope = "row";
      // Shown in front of the text where the table has no room for a head.
      cell.dataset.label = column.label;
      const inner = document.createElement(column.isState ? "span" : "bdi");
      cell.append(inner);
      node.append(cell);
      return { cell, inner };
    });
    return { node, cells };
  }

  /** Writes what time has changed. */
  tick() {
    const at = now();
    for (const { cells, data, since } of this.rows.values()) {
      for (const [index, column] of this.columns.entries()) {
        const { cell, inner } = cells[index];
        if (column.isState) {
          showState(inner, STATES[data.state] ?? ["Unknown", "off"]);
          continue;
        }
        const text = column.text(data, at - since);
        setText(inner, text === "" ? "–" : text);
        const className = `${column.isNumber ? "number" : ""} ${text === "" ? "none" : ""}`.trim();
        if (cell.className !== className) cell.className = className;
      }
    }
  }
}

/** A number of the broker, and the line of a rate. */
export class Figure {
  constructor(label, hasLine) {
    const box = document.createElement("div");
    const term = document.createElement("dt");
    term.textContent = label;
    this.value = document.createElement("dd");
    this.value.textContent = "–";
    box.append(term, this.value);
    if (hasLine) {
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", `0 0 ${RATES - 1} 20`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true");
      this.line = document.createElementNS(SVG, "polyline");
      svg.append(this.line);
      box.append(svg);
    }
    document.getElementById("numbers").append(box);
    this.rates = [];
  }

  show(number) {
    setText(this.value, count(number));
  }

  add(perSecond) {
    this.rates = [...this.rates, perSecond].slice(-RATES);
    setText(this.value, rate(perSecond));
    const most = Math.max(1, ...this.rates);
    const first = RATES - this.rates.length;
    const points = this.rates.map((it, index) => `${first + index},${19 - (18 * it) / most}`);
    if (points.length > 1) this.line.setAttribute("points", points.join(" "));
  }

  begin() {
    this.rates = [];
    setText(this.value, "–");
    this.line.setAttribute("points", "");
  }
}
