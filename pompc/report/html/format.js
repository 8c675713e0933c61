// Numbers for readers, and ticks at round ones.

const DASH = "\u2013"; // between the ends of an interval

/** A number with four digits, or whole with separators from 1000 on; the same form as in the tables. */
function readable(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "-";
  const size = Math.abs(value);
  if (size >= 1e7) return value.toExponential(3).replace("e+", "e");
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  return size > 0 && size < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** A count in few characters: 150k, 2.5M, 1G. */
function compact(value) {
  const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [size, unit] = units.find(([size]) => Math.abs(value) >= size) ?? [1, ""];
  return Number((value / size).toPrecision(4)) + unit;
}

/** A duration: 40 s, 15 min, 2.5 h. */
function duration(value) {
  const [size, unit] = [[3600, "h"], [60, "min"]].find(([size]) => Math.abs(value) >= size) ?? [1, "s"];
  return `${Number((value / size).toPrecision(3))} ${unit}`;
}

const FORMATS = {
  count: { tick: compact, value: readable, steps: [1, 2, 5] },
  seconds: { tick: duration, value: duration, steps: [1, 2, 5] },
  number: { tick: (value) => (Math.abs(value) >= 1e4 ? compact(value) : String(Number(value.toPrecision(6)))), value: readable, steps: [1, 2, 5] },
};

/** Steps of time at which people read a clock, in seconds. */
const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000];

/** Round values from low to high, about `count` of them. */
function ticks(low, high, count, kind) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const round = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) ?? 10);
  const step = kind === "seconds" ? CLOCK.find((size) => size >= rough) ?? round : round;
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index++) found.push(index * step || 0);
  return found;
}

/** A name that fits beside numbers. */
function shortened(name, letters = 44) {
  return name.length > letters ? `${name.slice(0, letters - 1)}\u2026` : name;
}
