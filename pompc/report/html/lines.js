// Lines over an axis: the middle of every method with its band, and its runs thinly behind.

/** The values of all methods at a place, highest first, for the tip. */
function valuesAt(series, place, format) {
  const found = series.map((one) => ({ one, value: at(one.x, one.y, place), low: at(one.x, one.low ?? [], place), high: at(one.x, one.high ?? [], place) }));
  return found.filter(({ value }) => isNumber(value)).sort((a, b) => b.value - a.value).map(({ one, value, low, high }) => {
    const ends = isNumber(low) && isNumber(high) && low !== high ? `${format(low)} ${DASH} ${format(high)}` : "";
    const there = one.runs?.[one.x.indexOf(place)] ?? one.total;
    const count = there < one.total ? ` (${there} of ${one.total} runs)` : "";
    return [make("span", {}, key(one.slot), ` ${shortened(one.name)}`), make("b", {}, format(value)), ends + count];
  });
}

/** The runs of the method whose line is nearest to the pointer. */
function runsAt(series, place, pixel, py, format) {
  const far = (one) => Math.abs(py(at(one.x, one.y, place)) - pixel.y);
  const here = series.filter((one) => one.thin.length > 1 && isNumber(at(one.x, one.y, place)));
  if (!here.length) return "";
  const one = here.reduce((best, other) => (far(other) < far(best) ? other : best));
  const values = one.thin.map((run) => [run.name, at(run.x, run.y, place)]).filter(([, value]) => isNumber(value));
  return values.length ? `${shortened(one.name)}: ${values.map(([name, value]) => `${name} ${format(value)}`).join(", ")}` : "";
}

/** The markers of a line, pale where not all runs are there. */
function markers(one, isFull, px, py) {
  const shown = one.x.map((_, index) => index).filter((index) => isNumber(one.x[index]) && isNumber(one.y[index]));
  const place = (index) => ({ x: px(one.x[index]), y: py(one.y[index]) });
  const mark = (index) => ({ class: isFull[index] ? "marker" : "marker part", href: `#shape${one.slot % SHAPES}`, ...place(index) });
  return shown.map((index) => draw("use", mark(index)));
}

/**
 * Draw lines.
 * @param spec {label, height, steps, x: {label, kind}, y: {label, kind, scale, domain}, series: [{slot, name, x, y, low, high, runs, total, thin}]};
 *   `thin` are the runs {name, x, y}; `runs` counts those behind each point, of `total`; `steps` draws stairs.
 */
function lineChart(box, width, spec) {
  const { series, steps = false } = spec;
  const xs = series.flatMap((one) => [one.x, ...one.thin.map((run) => run.x)]);
  const ys = series.flatMap((one) => [one.y, one.low ?? [], one.high ?? [], ...one.thin.map((run) => run.y)]);
  const x = { ...spec.x, domain: spec.x.domain ?? range(xs) };
  const { bend, straighten } = SCALES[spec.y.scale ?? "linear"];
  const y = { ...spec.y, domain: spec.y.domain ?? airy(range(ys).map(bend)).map(straighten) };
  const { svg, px, py, place, left, right, top, bottom } = frame(box, { width, height: spec.height, x, y, label: spec.label });
  for (const one of series) {
    const group = draw("g", { class: `${look(one.slot)}${one.isPublished ? " published" : ""}`, "data-method": one.name });
    if (one.low) group.append(draw("path", { class: "band", d: outline(one.x, one.low, one.high, px, py, steps) }));
    for (const run of one.thin) {
      group.append(draw("path", { class: "run", d: path(run.x, run.y, px, py, steps) }));
      if (run.x.length === 1) group.append(draw("circle", { class: "dot plain", cx: px(run.x[0]), cy: py(run.y[0]), r: 3 }));
    }
    const isFull = one.x.map((_, index) => !one.runs || one.runs[index] === one.total);
    const full = one.y.map((value, index) => (isFull[index] ? value : null));
    const part = one.y.map((value, index) => ([index - 1, index, index + 1].some((near) => isFull[near] === false) ? value : null));
    group.append(draw("path", { class: "middle", d: path(one.x, full, px, py, steps) }));
    if (!isFull.every(Boolean)) group.append(draw("path", { class: "middle part", d: path(one.x, part, px, py, steps) }));
    if (one.x.length <= 30 && !steps && !one.isPublished) group.append(...markers(one, isFull, px, py));
    svg.append(group);
  }
  const places = [...new Set(series.flatMap((one) => one.x))].filter(isNumber).sort((a, b) => a - b);
  const cross = draw("line", { class: "cross", y1: top, y2: bottom, visibility: "hidden" });
  svg.append(cross, draw("rect", { x: left, y: top, width: Math.max(0, right - left), height: bottom - top, fill: "transparent" }));
  const [formatX, formatY] = [FORMATS[x.kind].value, FORMATS[y.kind].value];
  follow(box, svg, {
    count: places.length,
    nearest: (pixel) => {
      const wanted = place(pixel.x);
      return places.reduce((best, value, index) => (Math.abs(value - wanted) < Math.abs(places[best] - wanted) ? index : best), 0);
    },
    show: (index, pixel) => {
      const pixelX = px(places[index]);
      for (const end of ["x1", "x2"]) cross.setAttribute(end, pixelX);
      cross.setAttribute("visibility", "visible");
      const note = pixel ? runsAt(series, places[index], pixel, py, formatY) : "";
      tip(box, `${x.label}: ${formatX(places[index])}`, valuesAt(series, places[index], formatY), { x: pixelX, y: top + 4 }, note);
    },
    hide: () => cross.setAttribute("visibility", "hidden"),
  });
}
