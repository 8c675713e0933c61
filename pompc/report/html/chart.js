// Charts in SVG: a frame with axes, lines with bands, and what a chart says under the pointer or the arrow keys.

const SVG = document.getElementById("shapes").namespaceURI;
const MOST_ROWS = 12; // of a tip
const SHAPES = 8; // markers and colours; the ninth method has the first ones again, dashed

/** An element of a picture. Texts are set as text, so a name can never be markup. */
function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** An element of the page. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const look = (slot) => `m${slot % SHAPES} d${Math.floor(slot / SHAPES) % 4}`;
const isNumber = (value) => value !== null && Number.isFinite(value);

function key(slot) {
  const svg = draw("svg", { class: `key ${look(slot)}`, viewBox: "0 0 26 12", "aria-hidden": "true" });
  svg.append(draw("line", { x1: 0, x2: 26, y1: 6, y2: 6 }), draw("use", { href: `#shape${slot % SHAPES}`, x: 13, y: 6 }));
  return svg;
}

/** The ends of all numbers in some lists; an empty or flat range is widened. */
function range(lists) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) for (const value of list) if (isNumber(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low > high) return [0, 1];
  return low === high ? [low - (Math.abs(low) || 1) * 0.05, high + (Math.abs(high) || 1) * 0.05] : [low, high];
}

/** A range with some air, which does not cross zero. */
function airy([low, high]) {
  const air = (high - low) * 0.05;
  return [low >= 0 && low < air ? 0 : low - air, high <= 0 && -high < air ? 0 : high + air];
}

/** Scales of values: both ways between a value and its place. The logarithmic one is nearly linear between -1 and 1, and has both signs. */
const SCALES = {
  linear: { bend: (value) => value, straighten: (place) => place },
  log: { bend: (value) => Math.sign(value) * Math.log10(1 + Math.abs(value)), straighten: (place) => Math.sign(place) * (10 ** Math.abs(place) - 1) },
};

/** Round values on a scale: on a logarithmic one powers of ten, if there are enough of them. */
function marksOn(scale, [low, high], count, kind) {
  const powers = [...Array(15).keys()].flatMap((power) => [-(10 ** (power + 1)), 10 ** (power + 1)]);
  const shown = scale === "log" ? [0, ...powers].filter((value) => low <= value && value <= high) : [];
  return shown.length > 2 ? shown : ticks(low, high, count, kind);
}

/** The value of a line at a place between its points; null outside or in a gap. */
function at(x, y, place) {
  const right = x.findIndex((value) => value >= place);
  if (right < 0 || (right === 0 && x[0] > place)) return null;
  if (x[right] === place || right === 0) return y[right];
  const share = (place - x[right - 1]) / (x[right] - x[right - 1]);
  return isNumber(y[right - 1]) && isNumber(y[right]) ? y[right - 1] + share * (y[right] - y[right - 1]) : null;
}

/** The axes of a chart. Returns the picture, scales from data to pixels, and the inverse of x. */
function frame(box, { width, height, x, y, label }) {
  const { bend } = SCALES[y.scale ?? "linear"];
  const marks = marksOn(y.scale, y.domain, Math.max(2, height / 55), y.kind);
  const words = marks.map((value) => FORMATS[y.kind].tick(value));
  const left = Math.max(26, ...words.map((word) => word.length * 7 + 12));
  const [top, right, bottom] = [26, 16, x.ticks === false ? 12 : 42];
  const scale = (domain, from, to) => (value) => from + ((value - domain[0]) / (domain[1] - domain[0])) * (to - from);
  const [px, up] = [scale(x.domain, left, width - right), scale(y.domain.map(bend), height - bottom, top)];
  const py = (value) => up(bend(value));
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, tabindex: 0 });
  marks.forEach((value, index) => {
    svg.append(draw("line", { class: "gridline", x1: left, x2: width - right, y1: py(value), y2: py(value) }));
    svg.append(draw("text", { x: left - 7, y: py(value) + 4, "text-anchor": "end" }, words[index]));
  });
  svg.append(draw("text", { class: "title", x: 0, y: 12 }, y.label));
  if (x.ticks !== false) {
    for (const value of ticks(...x.domain, Math.max(2, (width - left) / 90), x.kind)) {
      svg.append(draw("line", { class: "axis", x1: px(value), x2: px(value), y1: height - bottom, y2: height - bottom + 5 }));
      svg.append(draw("text", { x: px(value), y: height - bottom + 18, "text-anchor": "middle" }, FORMATS[x.kind].tick(value)));
    }
    svg.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    svg.append(draw("text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, x.label));
  }
  box.replaceChildren(svg);
  const place = (pixel) => x.domain[0] + ((pixel - left) / (width - right - left)) * (x.domain[1] - x.domain[0]);
  return { svg, px, py, place, left, right: width - right, top, bottom: height - bottom };
}

/** The `d` of a line through points; a missing value breaks it. Steps hold a value until the next point. */
function path(x, y, px, py, steps = false) {
  let [text, isOpen] = ["", false];
  x.forEach((value, index) => {
    const isHere = isNumber(value) && isNumber(y[index]);
    if (isHere) {
      const [a, b] = [px(value).toFixed(1), py(y[index]).toFixed(1)];
      text += isOpen ? (steps ? `H${a}V${b}` : `L${a} ${b}`) : `M${a} ${b}`;
    }
    isOpen = isHere;
  });
  return text;
}

/** The outline of a band; points where an end is missing are left out. Steps hold a value until the next point. */
function outline(x, low, high, px, py, steps = false) {
  const shown = x.map((_, index) => index).filter((index) => isNumber(x[index]) && isNumber(low[index]) && isNumber(high[index]));
  if (shown.length < 2) return "";
  const edge = (ends) => {
    const points = shown.map((index) => [px(x[index]), py(ends[index])]);
    return steps ? points.flatMap((point, index) => (index ? [[point[0], points[index - 1][1]], point] : [point])) : points;
  };
  const points = [...edge(low), ...edge(high).reverse()];
  return `M${points.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L")}Z`;
}

/** A box that follows the pointer. `rows` are lists of cells; a cell is a text or an element. */
function tip(box, title, rows, pixel, note = "") {
  let element = box.querySelector(".tip");
  if (!element) box.append((element = make("div", { class: "tip", role: "status" })));
  const more = rows.length > MOST_ROWS ? [["and", `${rows.length - MOST_ROWS} more`]] : [];
  const body = [...rows.slice(0, MOST_ROWS), ...more].map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  element.replaceChildren(make("div", { class: "soft" }, title), make("table", {}, ...body));
  if (note) element.append(make("div", { class: "soft" }, note));
  const room = box.clientWidth - element.offsetWidth;
  element.style.left = `${Math.max(0, Math.min(room, pixel.x + 14 > room ? pixel.x - element.offsetWidth - 14 : pixel.x + 14))}px`;
  element.style.top = `${Math.max(0, pixel.y)}px`;
}

function hideTip(box) {
  box.querySelector(".tip")?.remove();
}

/** Pointer and arrow keys of a chart: `show(index, pixel)` for one of `count` places, `nearest(pixel)` finds its index. */
function follow(box, svg, { count, nearest, show, hide }) {
  let index = -1;
  const go = (to, pixel) => show((index = Math.max(0, Math.min(count - 1, to))), pixel);
  const away = () => (hideTip(box), hide());
  svg.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect();
    const pixel = { x: event.clientX - area.left, y: event.clientY - area.top };
    go(nearest(pixel), pixel);
  });
  svg.addEventListener("pointerleave", away);
  svg.addEventListener("blur", away);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: count - 1 };
    if (event.key === "Escape") return away();
    if (!(event.key in moves) || count === 0) return;
    event.preventDefault();
    go(moves[event.key], null);
  });
}
