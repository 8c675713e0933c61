// Episodes as dots: a column per run, grouped by method.

/**
 * Draw dots.
 * @param spec {label, height, y: {label, kind}, columns: [{slot, method, name, dots: [{y, state, facts}], mean}]};
 *   `state` is ok, fail or plain; `facts` are pairs of a name and a text.
 */
function dotChart(box, width, spec) {
  const { columns } = spec;
  const wide = Math.max(width, columns.length * 16 + 80);
  const y = { ...spec.y, domain: airy(range(columns.map((column) => column.dots.map((dot) => dot.y)))) };
  const x = { domain: [-0.5, columns.length - 0.5], ticks: false };
  const height = spec.height;
  const inner = make("div", { class: "scroll" });
  const { svg, px, py, top, bottom } = frame(inner, { width: wide, height: height - 26, x, y, label: spec.label });
  svg.setAttribute("viewBox", `0 0 ${wide} ${height}`);
  svg.setAttribute("height", height);
  svg.style.width = `${wide}px`;
  box.replaceChildren(inner);
  const room = Math.min(0.8, 44 / (px(1) - px(0) || 44));
  const places = [];
  columns.forEach((column, index) => {
    const group = draw("g", { class: look(column.slot), "data-method": column.method });
    column.dots.forEach((dot, number) => {
      if (!isNumber(dot.y)) return;
      const pixel = { x: px(index + ((number + 0.5) / column.dots.length - 0.5) * room), y: py(dot.y) };
      const { x: cx, y: cy } = pixel;
      group.append(
        dot.state === "fail"
          ? draw("path", { class: "dot fail", d: `M${cx - 3} ${cy - 3}l6 6m0 -6l-6 6` })
          : draw("circle", { class: `dot ${dot.state}`, cx, cy, r: 3.2 }),
      );
      places.push({ pixel, dot, column });
    });
    if (isNumber(column.mean)) {
      const [a, b] = [px(index - room / 2), px(index + room / 2)];
      group.append(draw("line", { class: "mean", x1: a, x2: b, y1: py(column.mean), y2: py(column.mean) }));
    }
    svg.append(group);
  });
  underline(svg, columns, px, bottom);
  const ring = draw("circle", { class: "ring", r: 6, visibility: "hidden" });
  svg.append(ring, draw("rect", { x: 0, y: top - 10, width: wide, height: bottom - top + 20, fill: "transparent" }));
  const far = (pixel) => ({ pixel: other }) => (pixel.x - other.x) ** 2 + (pixel.y - other.y) ** 2;
  follow(box, svg, {
    count: places.length,
    nearest: (pixel) => places.reduce((best, one, index) => (far(pixel)(one) < far(pixel)(places[best]) ? index : best), 0),
    show: (index) => {
      const { pixel, dot, column } = places[index];
      ring.setAttribute("cx", pixel.x);
      ring.setAttribute("cy", pixel.y);
      ring.setAttribute("visibility", "visible");
      const where = { x: pixel.x - inner.scrollLeft, y: Math.max(0, pixel.y - 60) };
      tip(box, `${column.method}, ${column.name}`, dot.facts, where);
    },
    hide: () => ring.setAttribute("visibility", "hidden"),
  });
}

/** A line in the colour of every method below its runs, with its marker. */
function underline(svg, columns, px, bottom) {
  const half = (px(1) - px(0)) / 2 || 20;
  for (const method of new Set(columns.map((column) => column.method))) {
    const own = columns.map((column, index) => [column, index]).filter(([column]) => column.method === method);
    const [first, last] = [own[0][1], own[own.length - 1][1]];
    const [a, b, slot] = [px(first) - half + 2, px(last) + half - 2, own[0][0].slot];
    const group = draw("g", { class: look(slot) });
    group.append(draw("line", { class: "middle", x1: a, x2: b, y1: bottom + 8, y2: bottom + 8 }));
    group.append(draw("use", { class: "marker", href: `#shape${slot % SHAPES}`, x: (a + b) / 2, y: bottom + 8 }));
    if (b - a > 30) {
      const letters = Math.max(3, Math.floor((b - a) / 7));
      const name = method.length > letters ? `${method.slice(0, letters - 1)}\u2026` : method;
      group.append(draw("text", { x: (a + b) / 2, y: bottom + 28, "text-anchor": "middle" }, name));
    }
    svg.append(group);
  }
}
