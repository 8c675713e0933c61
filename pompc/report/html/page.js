// The page: what is chosen (axis, metric, runs, methods, theme) lies behind the # of its address, and every chart is drawn from it.

const data = JSON.parse(document.getElementById("data").textContent);
const controls = document.getElementById("controls");
const chips = [...document.querySelectorAll(".chips button")];

const choice = () => {
  const words = new URLSearchParams(location.hash.slice(1));
  const known = (name, otherwise) => {
    const word = words.get(name);
    const field = controls.elements[name];
    const options = field instanceof HTMLSelectElement ? [...field.options] : [...field];
    return options.some((option) => option.value === word && !option.disabled) ? word : otherwise;
  };
  return {
    x: known("x", "step"),
    y: known("y", data.metrics[0].key),
    scale: known("scale", "linear"),
    runs: known("runs", "all"),
    theme: known("theme", "auto"),
    hide: new Set(words.getAll("hide").filter((name) => data.methods.includes(name))),
  };
};

/** Put a change into the address; what is at its default is left out. */
function choose(change) {
  const next = { ...choice(), ...change };
  const defaults = { x: "step", y: data.metrics[0].key, scale: "linear", runs: "all", theme: "auto" };
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(defaults)) if (next[name] !== value) words.set(name, next[name]);
  for (const name of next.hide) words.append("hide", name);
  history.replaceState(null, "", `#${words}`);
  refresh();
}

const say = (text) => make("p", { class: "none" }, text);
const kindOf = (axis) => (axis === "seconds" ? "seconds" : "count");
const slotOf = (name) => data.methods.indexOf(name);

/** The runs of a method to draw thinly: all, none, or one seed. */
const shownRuns = (runs, now) => (now.runs === "none" ? [] : runs.filter((run) => now.runs === "all" || String(run.seed) === now.runs));

/** Series over the chosen axis: bands are {axis: {method: {x, middle, low, high, runs}}}; `lineOf` takes the points of a run. */
function seriesOf(env, bands, now, lineOf) {
  const found = Object.entries(bands[now.x] ?? {}).filter(([name]) => !now.hide.has(name));
  return found.map(([name, band]) => {
    const own = env.runs.filter((run) => run.method === name);
    const thin = shownRuns(own, now).map((run) => ({ name: `seed ${run.seed}`, ...lineOf(run) }));
    return { slot: slotOf(name), name, ...band, y: band.middle, total: own.length, thin: thin.filter((run) => run.y) };
  });
}

/** Published curves, behind the others: they are of the return over environment steps. */
function publishedOf(env, now) {
  if (now.x !== "step" || now.y !== "reward") return [];
  const shown = env.published.filter((one) => !now.hide.has(one.name));
  return shown.map((one) => ({ ...one, slot: slotOf(one.name), y: one.middle, thin: [], isPublished: true }));
}

/** What a picture says to those who do not see it. */
function described(what, series, format) {
  const ends = series.map((one) => [one.name, one.y.findLast(isNumber)]).filter(([, value]) => isNumber(value));
  return `${what}. At the end: ${ends.map(([name, value]) => `${name} ${format(value)}`).join("; ")}`;
}

/** Draw curves over the chosen axis, or say why there are none. */
function curvesOver(box, width, env, { bands, lineOf, label, height, missing, published = false }) {
  const now = choice();
  const axis = data.axes[now.x];
  const known = Object.keys(bands.step ?? {});
  const series = seriesOf(env, bands, now, lineOf);
  if (!series.length) {
    const areHidden = known.length && known.every((name) => now.hide.has(name));
    return box.replaceChildren(say(areHidden ? "All methods are hidden." : known.length ? env.without[now.x] : missing));
  }
  const text = described(`${label} over ${axis}, on ${env.name}`, series, readable);
  const x = { label: axis, kind: kindOf(now.x) };
  const all = published ? [...publishedOf(env, now), ...series] : series;
  lineChart(box, width, { label: text, height, x, y: { label, kind: "number", scale: now.scale }, series: all });
}

function evaluation(box, width, env, metric, title, height) {
  const lineOf = (run) => ({ x: run.x[choice().x], y: run.eval[metric] });
  const missing = `No evaluation on ${env.name} has ${labelOf(metric)}.`;
  curvesOver(box, width, env, { bands: env.bands[metric] ?? {}, lineOf, label: title, height, missing, published: true });
}

const labelOf = (metric) => data.metrics.find((one) => one.key === metric)?.label ?? metric;

const CHARTS = {
  curve(box, width, env, now) {
    evaluation(box, width, env, now.y, labelOf(now.y), Math.max(270, Math.min(400, width * 0.5)));
  },
  overview(box, width, env, now) {
    evaluation(box, width, env, now.y, `${env.name}: ${labelOf(now.y)}`, 220);
  },
  diagnostic(box, width, env) {
    evaluation(box, width, env, box.dataset.column, labelOf(box.dataset.column), 210);
  },
  trace(box, width, env) {
    const column = box.dataset.column;
    const lineOf = (run) => ({ x: run.trace_x[choice().x], y: run.traces[column] });
    const label = data.labels[column] ?? column;
    curvesOver(box, width, env, { bands: env.middles[column] ?? {}, lineOf, label, height: 210, missing: `No run on ${env.name} has ${column}.` });
  },
  profile(box, width, env, now) {
    drawProfile(box, width, env.profile, now, `${labelOf(data.metrics[0].key)} above which a run lies`, env.name);
  },
  whole(box, width, _, now) {
    drawProfile(box, width, data.overall, now, "normalised score above which a run lies", "all environments");
  },
  episodes(box, width, env, now) {
    const columns = env.episodes.filter((run) => !now.hide.has(run.method) && (now.runs === "all" || now.runs === "none" || String(run.seed) === now.runs));
    const metric = columns.some((run) => run.values[now.y]) ? now.y : data.metrics[0].key;
    if (!columns.length) return box.replaceChildren(say("No run is shown: its method is hidden, or no method has this seed."));
    const stateOf = (run, index) => (isNumber(run.values.success?.[index] ?? null) ? (run.values.success[index] > 0 ? "ok" : "fail") : "plain");
    const spec = columns.map((run) => {
      const values = run.values[metric] ?? [];
      const dots = values.map((value, index) => ({
        y: value,
        state: stateOf(run, index),
        facts: [["episode", String(index)], ...Object.entries(run.values).map(([name, list]) => [labelOf(name), readable(list[index])])],
      }));
      const known = values.filter(isNumber);
      const mean = known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
      return { slot: slotOf(run.method), method: run.method, name: `seed ${run.seed}`, dots, mean };
    });
    const text = `Episodes of the last evaluation on ${env.name}: ${columns.length} runs, ${spec.reduce((sum, run) => sum + run.dots.length, 0)} episodes`;
    dotChart(box, width, { label: text, height: 320, y: { label: labelOf(metric), kind: "number" }, columns: spec });
  },
};

function drawProfile(box, width, profile, now, label, where) {
  const names = Object.keys(profile.bands).filter((name) => !now.hide.has(name));
  if (!names.length) return box.replaceChildren(say("All methods are hidden."));
  const series = names.map((name) => {
    const { middle, low, high } = profile.bands[name];
    return { slot: slotOf(name), name, x: profile.x, y: middle, low, high, thin: [] };
  });
  const text = `Share of runs whose score is above a threshold, on ${where}: ${names.join(", ")}`;
  const y = { label: "share of runs above", kind: "number", domain: [0, 1] };
  lineChart(box, width, { label: text, height: 300, steps: true, x: { label, kind: "number" }, y, series });
}

function render(box) {
  const width = Math.floor(box.clientWidth);
  if (width > 0) CHARTS[box.dataset.chart](box, width, data.environments[Number(box.dataset.env)], choice());
}

function refresh() {
  const now = choice();
  for (const name of ["x", "y", "scale", "runs", "theme"]) controls.elements[name].value = now[name];
  if (now.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now.theme;
  for (const chip of chips) chip.setAttribute("aria-pressed", String(!now.hide.has(chip.dataset.method)));
  for (const element of document.querySelectorAll("[data-of]")) element.hidden = now.hide.has(element.dataset.of);
  document.querySelectorAll("[data-chart]").forEach(render);
}

controls.addEventListener("change", (event) => {
  if (event.target.name) choose({ [event.target.name]: event.target.value });
});
for (const chip of chips) {
  chip.addEventListener("click", () => {
    const { hide } = choice();
    if (!hide.delete(chip.dataset.method)) hide.add(chip.dataset.method);
    choose({ hide });
  });
}
for (const link of document.querySelectorAll("[data-to]")) {
  link.addEventListener("click", () => document.getElementById(link.dataset.to).scrollIntoView());
}
for (const select of document.querySelectorAll("select[data-column-of]")) {
  const box = document.getElementById(select.dataset.columnOf);
  select.addEventListener("change", () => ((box.dataset.column = select.value), render(box)));
}
const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const width = Math.floor(target.clientWidth);
    if (Number(target.dataset.width) !== width) render(target);
    target.dataset.width = width;
  }
});
document.querySelectorAll("[data-chart]").forEach((box) => ((box.dataset.width = Math.floor(box.clientWidth)), resized.observe(box)));
addEventListener("hashchange", refresh);
refresh();
