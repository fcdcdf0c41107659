// The explorer: a heatmap of layers and sites, the units behind a cell, the responses of a unit.
// It runs as an anywidget in notebooks and inside the report, where a small shim plays the model.
// Whatever comes from data enters the page as text (textContent), never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SHADES = 9;
const SHOWN_STIMULI = 5;
const COLUMNS = [
  { key: "address", label: "unit", compare: (a, b) => a.flat - b.flat, text: (u) => u.address },
  { key: "t", label: "t", compare: (a, b) => a.t - b.t, text: (u) => u.t.toFixed(2) },
  { key: "d", label: "d", compare: (a, b) => a.d - b.d, text: (u) => u.d.toFixed(2) },
  { key: "q", label: "q", compare: (a, b) => a.logQ - b.logQ, text: (u) => power(u.logQ) },
  {
    key: "outlier",
    label: "size",
    compare: (a, b) => a.outlier - b.outlier,
    text: (u) => (u.outlier ? "outlier" : ""),
  },
];

// -- small helpers ---------------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  // Otherwise JupyterLab takes arrows and Enter for its own; it asks the element in focus alone.
  if (tag === "input" || tag === "button" || "tabindex" in properties)
    made.dataset.lmSuppressShortcuts = "true";
  made.append(...children);
  return made;
}

function shape(tag, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

const grouped = (n) => n.toLocaleString("en");

function power(log10) {
  if (log10 === -Infinity) return "0";
  return log10 > -3 ? (10 ** log10).toFixed(3) : (10 ** log10).toExponential(1);
}

function decoded(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer);
}

// A cell that a spreadsheet would take for a formula gets an apostrophe; numbers stay numbers.
function csvCell(value) {
  if (typeof value === "number") return String(Number(value.toPrecision(7)));
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const csvOf = (rows) => rows.map((row) => row.map(csvCell).join(",") + "\r\n").join("");

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  element("a", { href: url, download: name.replace(/[^\w.-]+/g, "-") }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const placeOf = (site, layer) => (site.alone ? site.name : `Layer ${layer}, ${site.name}`);

// -- the data --------------------------------------------------------------------------------------

function unpackSide(packed, site) {
  const flat = decoded(packed.unit, Uint32Array);
  const [t, d, logQ] = ["t", "d", "log10_q"].map((name) => decoded(packed[name], Float32Array));
  const outlier = decoded(packed.outlier, Uint8Array);
  return Array.from(flat, (index, i) => {
    const layer = Math.floor(index / site.units);
    const unit = `${site.name}.${index % site.units}`;
    const address = site.alone ? unit : `L${layer}.${unit}`;
    return { site, flat: index, layer, address, t: t[i], d: d[i], logQ: logQ[i], outlier: outlier[i] };
  });
}

function unpackResponses(packed) {
  const rows = new Map(Array.from(decoded(packed.unit, Uint32Array), (unit, row) => [unit, row]));
  const low = decoded(packed.low, Float32Array);
  const step = decoded(packed.step, Float32Array);
  const codes = decoded(packed.codes, Uint16Array);
  return { rows, low, step, codes };
}

function unpackTokens(packed) {
  const rows = new Map(Array.from(decoded(packed.unit, Uint32Array), (unit, row) => [unit, row]));
  const largest = decoded(packed.largest, Float32Array);
  const codes = decoded(packed.codes, Int8Array);
  return { rows, largest, codes, n: rows.size ? codes.length / rows.size : 0 };
}

function unpacked(payload) {
  const sites = payload.sites.map((site) => ({
    ...site,
    sides: { target: unpackSide(site.target, site), control: unpackSide(site.control, site) },
    responses: site.responses && unpackResponses(site.responses),
    tokens: site.tokens && unpackTokens(site.tokens),
  }));
  // The first token of every stimulus, among those of all.
  let sum = 0;
  const starts = payload.stimuli.tokens?.map((pieces) => (sum += pieces.length) - pieces.length);
  return { ...payload, sites, stimuli: { ...payload.stimuli, starts } };
}

// Layers may differ in width; an index into all of them counts every layer as wide as the widest.
function totalOf(site) {
  return site.widths.reduce((sum, width) => sum + width, 0);
}

// As lensloc counts: truncated, by the same floating-point expression.
function countOf(site, percent) {
  return Math.trunc((percent / 100) * totalOf(site));
}

// Responses of a unit to every stimulus, as they were tested; null if they were not kept.
function responsesOf(data, site, flat, signed) {
  const row = site.responses?.rows.get(flat);
  if (row === undefined) return null;
  const n = data.stimuli.text.length;
  const { low, step, codes } = site.responses;
  return Array.from(codes.subarray(row * n, (row + 1) * n), (code) => {
    const value = low[row] + step[row] * code;
    return data.absolute && !signed ? Math.abs(value) : value;
  });
}

// -- the view --------------------------------------------------------------------------------------

let rendered = 0; // several explorers may stand on one page

function render({ model, el }) {
  const number = ++rendered;
  const id = (name) => `ll-${name}-${number}`;
  const data = unpacked(model.get("payload"));
  const names = data.sites.map((site) => site.name);
  const state = { sort: "t", descending: true, signed: false, layer: null, site: null, unit: null };
  const get = (name) => model.get(name);
  const view = {};

  const root = element("div", { class: "ll-explorer" });
  el.append(root);
  const dress = () => (root.dataset.theme = isDark(root, get("theme")) ? "dark" : "light");

  root.append(...mindedPart(), controls(), heatmapPart(), unitsPart(), unitPart());
  chooseBest();
  update();
  dress();

  const media = window.matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", dress);
  // Notebooks change their theme on the page's outermost elements, and are painted a frame later.
  const skin = new MutationObserver(() => requestAnimationFrame(dress));
  for (const outer of [document.documentElement, document.body])
    skin.observe(outer, { attributes: true });
  for (const name of ["percent", "side"]) model.on(`change:${name}`, update);
  model.on("change:theme", dress);
  const observer = new ResizeObserver(() => drawUnit());
  observer.observe(view.plot);
  return () => {
    media.removeEventListener("change", dress);
    skin.disconnect();
    observer.disconnect();
  };

  function put(name, value) {
    model.set(name, value);
    model.save_changes();
  }

  // -- what to mind --

  function mindedPart() {
    const told = data.warnings ?? [];
    if (!told.length) return [];
    const items = told.map((sentence) => element("li", {}, sentence));
    const title = element("summary", {}, `What to mind (${told.length})`);
    return [element("details", { class: "ll-minded" }, title, element("ul", {}, ...items))];
  }

  // -- controls --

  function controls() {
    view.slider = element("input", {
      type: "range",
      id: id("slider"),
      min: data.least,
      max: data.most,
      step: data.least,
      oninput: () => choosePercent(view.slider.value),
    });
    view.number = element("input", {
      type: "number",
      min: 0,
      max: data.most,
      step: "any",
      "aria-label": "Per cent of units",
      oninput: () => choosePercent(view.number.value),
    });
    const choices = [
      ["target", `${data.target} > ${data.control}`],
      ["control", `${data.control} > ${data.target}`],
    ].map(([side, words]) => {
      const radio = element("input", {
        type: "radio",
        name: id("side"),
        value: side,
        onchange: () => {
          put("side", side);
          chooseBest();
          update();
        },
      });
      view[side] = radio;
      return element("label", {}, radio, ` ${words}`);
    });
    view.count = element("output", { class: "ll-count", for: id("slider"), "aria-live": "polite" });
    return element(
      "div",
      { class: "ll-controls" },
      element(
        "div",
        { class: "ll-percent" },
        element("label", { for: id("slider") }, "Units selected at every site"),
        view.slider,
        element("span", { class: "ll-number" }, view.number, " %"),
      ),
      element("fieldset", {}, element("legend", {}, "Units that prefer"), ...choices),
      view.count,
    );
  }

  function choosePercent(text) {
    const percent = Number.parseFloat(text);
    const fine = percent > 0 && percent <= data.most;
    view.number.setAttribute("aria-invalid", String(!fine));
    if (fine) put("percent", percent); // which updates the view
    else view.count.textContent = `Choose more than 0 and at most ${data.most} %.`;
  }

  // -- layer x site --

  function heatmapPart() {
    view.cells = new Map();
    view.heads = names.map(() => element("span", { class: "ll-units" }));
    const head = data.sites.map((site, i) =>
      element("th", { scope: "col", title: site.what }, site.name, view.heads[i]),
    );
    const layers = Math.max(...data.sites.map((site) => site.layers));
    const body = Array.from({ length: layers }, (_, i) => {
      const layer = layers - 1 - i;
      const cells = data.sites.map((site, column) => {
        if (layer >= site.layers) return element("td");
        const button = element("button", {
          type: "button",
          onclick: () => chooseCell(site, layer),
          onkeydown: (event) => moveFocus(event, layer, column),
        });
        view.cells.set(`${layer} ${column}`, button);
        return element("td", {}, button);
      });
      return element("tr", {}, element("th", { scope: "row" }, String(layer)), ...cells);
    });
    view.legend = element("p", { class: "ll-legend" });
    const caption = "% of every layer's units that are selected; a cell lists them. ";
    return element(
      "section",
      { class: "ll-map", "aria-label": "Heatmap of layers and sites" },
      element(
        "table",
        {},
        element("caption", {}, caption, "Arrow keys move between cells."),
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "layer"), ...head)),
        element("tbody", {}, ...body),
      ),
      view.legend,
    );
  }

  function moveFocus(event, layer, column) {
    const steps = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    const next = step && view.cells.get(`${layer + step[0]} ${column + step[1]}`);
    if (!next) return;
    event.preventDefault();
    for (const cell of view.cells.values()) cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  function selected(site) {
    return site.sides[get("side")].slice(0, countOf(site, get("percent")));
  }

  function chooseCell(site, layer) {
    Object.assign(state, { site, layer });
    const units = selected(site).filter((unit) => unit.layer === layer);
    if (units.length) state.unit = units[0];
    put("site", site.name);
    put("layer", layer);
    if (units.length) put("unit", units[0].address);
    update();
  }

  // The cell with most units of the first site, so that there is something to see.
  function chooseBest() {
    const site = state.site ?? data.sites[0];
    const counts = perLayer(site, selected(site));
    const most = Math.max(...counts);
    Object.assign(state, { site, layer: counts.indexOf(most) });
    state.unit = selected(site).find((unit) => unit.layer === state.layer) ?? null;
  }

  function perLayer(site, units) {
    const counts = new Array(site.layers).fill(0);
    for (const unit of units) counts[unit.layer] += 1;
    return counts;
  }

  function update() {
    const percent = get("percent");
    view.slider.value = percent;
    if (Number.parseFloat(view.number.value) !== percent) view.number.value = percent;
    view[get("side")].checked = true;
    const units = data.sites.map(selected);
    const counts = data.sites.map((site, i) => perLayer(site, units[i]));
    const shares = counts.map((found, i) =>
      found.map((n, layer) => (100 * n) / data.sites[i].widths[layer]),
    );
    const highest = Math.max(...shares.flat());
    data.sites.forEach((site, column) => {
      const count = countOf(site, percent);
      const n = units[column].length;
      view.heads[column].textContent = count === 0 ? "less than 1 unit" : unitsOf(n);
      counts[column].forEach((found, layer) => {
        const share = shares[column][layer];
        const button = view.cells.get(`${layer} ${column}`);
        const chosen = site === state.site && layer === state.layer;
        const percentage = share.toFixed(1);
        button.textContent = found ? percentage : "";
        button.dataset.shade = highest ? Math.round(((SHADES - 1) * share) / highest) : 0;
        button.setAttribute("aria-pressed", String(chosen));
        const width = grouped(site.widths[layer]);
        const words = `${placeOf(site, layer)}: ${grouped(found)} of ${width}`;
        button.setAttribute("aria-label", `${words} units (${percentage} %)`);
        button.title = `${words} units (${percentage} %)`;
        button.tabIndex = chosen ? 0 : -1;
      });
    });
    view.count.textContent = data.sites.map((site, i) => countText(site, units[i].length)).join("; ");
    drawLegend(highest);
    listUnits();
    drawUnit();
  }

  function unitsOf(n) {
    return `${grouped(n)} ${n === 1 ? "unit" : "units"}`;
  }

  function countText(site, n) {
    const total = totalOf(site);
    const count = countOf(site, get("percent"));
    if (count > site.available)
      return `${site.name}: only ${grouped(site.available)} units may be selected`;
    return `${site.name}: ${grouped(n)} of ${grouped(total)} units`;
  }

  function drawLegend(highest) {
    const swatches = Array.from({ length: SHADES }, (_, shade) =>
      element("span", { class: "ll-swatch", "data-shade": shade }),
    );
    const words = `${highest.toFixed(1)} % of the layer's units`;
    view.legend.replaceChildren("0 ", element("span", {}, ...swatches), ` ${words}`);
  }

  // -- units of a cell --

  function unitsPart() {
    view.cellTitle = element("h3");
    view.csv = element(
      "button",
      { type: "button", class: "ll-action", onclick: downloadUnits },
      "Download all selected units (CSV)",
    );
    view.sortHeads = COLUMNS.map((column) =>
      element(
        "th",
        { scope: "col" },
        element("button", { type: "button", onclick: () => sortBy(column.key) }, column.label),
      ),
    );
    view.rows = element("tbody");
    view.note = element("p", { class: "ll-note" });
    const table = element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...view.sortHeads)),
      view.rows,
    );
    const scroll = { class: "ll-scroll", tabindex: 0, role: "group", "aria-label": "Units" };
    return element(
      "section",
      { class: "ll-list", "aria-label": "Units of the cell" },
      view.cellTitle,
      view.note,
      element("div", scroll, table),
      view.csv,
    );
  }

  function sortBy(key) {
    state.descending = state.sort === key ? !state.descending : key !== "address" && key !== "q";
    state.sort = key;
    listUnits();
  }

  function listUnits() {
    const { site, layer } = state;
    const units = selected(site).filter((unit) => unit.layer === layer);
    const { compare } = COLUMNS.find((column) => column.key === state.sort);
    const sign = state.descending ? -1 : 1;
    units.sort((a, b) => sign * compare(a, b));
    view.cellTitle.textContent = `${placeOf(site, layer)}: ${unitsOf(units.length)}`;
    view.note.textContent = units.length
      ? "Choose a unit to see its responses."
      : "None of this layer's units is selected; choose another cell or more units.";
    view.sortHeads.forEach((head, i) => {
      const order = state.descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", COLUMNS[i].key === state.sort ? order : "none");
    });
    view.rows.replaceChildren(
      ...units.map((unit) => {
        const chosen = unit.address === state.unit?.address;
        const choose = () => {
          state.unit = unit;
          put("unit", unit.address);
          listUnits();
          drawUnit();
          rowOf(unit)?.focus();
        };
        const cells = COLUMNS.slice(1).map((column) => element("td", {}, column.text(unit)));
        const button = element(
          "button",
          { type: "button", "aria-pressed": String(chosen), onclick: choose },
          unit.address,
        );
        const row = element("tr", {}, element("th", { scope: "row" }, button), ...cells);
        if (chosen) row.classList.add("ll-chosen");
        return row;
      }),
    );
  }

  function rowOf(unit) {
    return [...view.rows.querySelectorAll("button")].find((b) => b.textContent === unit.address);
  }

  function downloadUnits() {
    const head = ["address", "site", "layer", "unit", "t", "d", "q", "outlier"];
    const rows = data.sites.flatMap((site) =>
      selected(site).map((unit) => [
        ...[unit.address, site.name, unit.layer, unit.flat % site.units],
        ...[unit.t, unit.d, 10 ** unit.logQ, unit.outlier ? "True" : "False"],
      ]),
    );
    const name = `${data.contrast}-${get("side")}-${get("percent")}-percent.csv`;
    download(name, csvOf([head, ...rows]));
  }

  // -- one unit --

  function unitPart() {
    view.unitTitle = element("h3");
    view.unitFacts = element("p", { class: "ll-facts" });
    view.signed = element("input", {
      type: "checkbox",
      onchange: () => {
        state.signed = view.signed.checked;
        drawUnit();
      },
    });
    view.signedLabel = element("label", {}, view.signed, " with their sign");
    view.plot = element("div", { class: "ll-plot" });
    view.stimuli = element("div", { class: "ll-stimuli" });
    return element(
      "section",
      { class: "ll-unit", "aria-label": "Responses of the unit", "aria-live": "polite" },
      view.unitTitle,
      view.unitFacts,
      view.plot,
      view.stimuli,
    );
  }

  function drawUnit() {
    const { unit } = state;
    if (unit === null) {
      view.unitTitle.textContent = "No unit chosen";
      view.unitFacts.replaceChildren();
      view.plot.replaceChildren();
      view.stimuli.replaceChildren();
      return;
    }
    const site = data.sites.find((each) => each.name === unit.site.name);
    const values = responsesOf(data, site, unit.flat, state.signed);
    view.unitTitle.textContent = unit.address;
    const size = unit.outlier ? "; an outlier in size, whatever the stimulus" : "";
    const facts = `t = ${unit.t.toFixed(2)}, d = ${unit.d.toFixed(2)}, q = ${power(unit.logQ)}`;
    const what = site.what[0].toUpperCase() + site.what.slice(1);
    view.unitFacts.replaceChildren(`${what}; ${facts}${size}. `);
    if (values === null) {
      view.unitFacts.append(data.sites.some((s) => s.responses) ? data.beyond : data.missing);
      view.plot.replaceChildren();
      view.stimuli.replaceChildren();
      return;
    }
    if (data.absolute) view.unitFacts.append(view.signedLabel);
    const label = data.absolute && !state.signed ? data.measure : data.measure_signed;
    view.plot.replaceChildren(stripPlot(data, values, label, view.plot.clientWidth || 480));
    view.stimuli.replaceChildren(...extremes(data, values, colouring(data, site, unit.flat)));
  }
}

// -- pictures and lists of one unit ----------------------------------------------------------------

function quantile(sorted, p) {
  const place = p * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

function ticks(low, high, most) {
  const raw = (high - low) / most || 1;
  const magnitude = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * magnitude).find((s) => s >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1)
    found.push(Number((i * step).toPrecision(12)));
  return found;
}

// One strip per condition: every stimulus a point, the quartiles a box, the median its line.
function stripPlot(data, values, label, width) {
  const rowHeight = 78;
  const [left, right, top, bottom] = [10, 14, 4, 44];
  const { conditions, condition, text } = data.stimuli;
  const height = top + rowHeight * conditions.length + bottom;
  const low = data.absolute && Math.min(...values) >= 0 ? 0 : Math.min(...values);
  const high = Math.max(...values);
  const x = (v) => left + ((width - left - right) * (v - low)) / (high - low || 1);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  svg.setAttribute("aria-label", `${label}, every stimulus a point, by condition`);
  const base = height - bottom;
  for (const tick of ticks(low, high, Math.max(2, Math.floor(width / 80)))) {
    svg.append(shape("line", { x1: x(tick), x2: x(tick), y1: top, y2: base, class: "ll-grid" }));
    const at = { x: x(tick), y: base + 16, "text-anchor": "middle", class: "ll-tick" };
    svg.append(shape("text", at, String(tick)));
  }
  const middle = { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" };
  svg.append(shape("text", { ...middle, class: "ll-axis" }, label));
  conditions.forEach((found, number) => {
    const y = top + rowHeight * number;
    const rows = condition.flatMap((c, row) => (c === number ? [row] : []));
    const sorted = rows.map((row) => values[row]).sort((a, b) => a - b);
    const [a, median, b] = [0.25, 0.5, 0.75].map((p) => quantile(sorted, p));
    const role = found.role === "other" ? "" : `${found.role}, `;
    const name = `${found.name} (${role}n = ${rows.length})`;
    svg.append(shape("text", { x: left, y: y + 16, class: "ll-axis" }, name));
    const strip = shape("g", { class: `ll-${found.role}` });
    rows.forEach((row, place) => {
      // The golden ratio spreads points evenly and the same way every time.
      const jitter = ((place * 0.618034) % 1) * 34 - 17;
      const at = { cx: x(values[row]).toFixed(1), cy: (y + 46 + jitter).toFixed(1), r: 2.6 };
      const point = shape("circle", at);
      point.append(shape("title", {}, `${Number(values[row].toPrecision(3))}: ${text[row]}`));
      strip.append(point);
    });
    const box = { x: x(a), y: y + 30, width: Math.max(1, x(b) - x(a)), height: 32 };
    svg.append(strip, shape("rect", { ...box, class: "ll-box" }));
    const line = { x1: x(median), x2: x(median), y1: y + 27, y2: y + 65, class: "ll-median" };
    svg.append(shape("line", line));
  });
  return svg;
}

// A small copy of a picture, where stimuli are pictures and few enough for a page.
function pictureOf(data, row) {
  const source = data.stimuli.picture[row];
  return source ? [element("img", { class: "ll-picture", src: source, alt: "" })] : [];
}

// Text of a stimulus, every token in the colour of a unit's response to it where that is kept:
// orange above zero, blue below.
function colouring(data, site, flat) {
  const { text, tokens, starts } = data.stimuli;
  const row = site.tokens?.rows.get(flat);
  if (row === undefined) return (stimulus) => [text[stimulus]];
  const { largest, codes, n } = site.tokens;
  return (stimulus) =>
    tokens[stimulus].map((piece, place) => {
      const share = codes[row * n + starts[stimulus] + place] / 127;
      const span = element("span", { class: "ll-token" }, piece);
      const [r, g, b] = share > 0 ? [213, 94, 0] : [0, 114, 178];
      span.style.background = `rgba(${r}, ${g}, ${b}, ${(0.6 * Math.abs(share)).toFixed(2)})`;
      span.title = String(Number((share * largest[row]).toPrecision(3)));
      return span;
    });
}

function extremes(data, values, written) {
  const order = values.map((_, row) => row).sort((a, b) => values[b] - values[a] || a - b);
  const shown = Math.min(SHOWN_STIMULI, Math.floor(order.length / 2));
  const { conditions, condition } = data.stimuli;
  const list = (title, rows) =>
    element(
      "div",
      {},
      element("h4", {}, title),
      element(
        "ul",
        {},
        ...rows.map((row) => {
          const found = conditions[condition[row]];
          const value = String(Number(values[row].toPrecision(3)));
          return element(
            "li",
            {},
            element("span", { class: "ll-value" }, value),
            element("span", { class: `ll-tag ll-${found.role}` }, found.name),
            element("span", { class: "ll-text" }, ...pictureOf(data, row), ...written(row)),
          );
        }),
      ),
    );
  return [
    list("Strongest responses", order.slice(0, shown)),
    list("Weakest responses", order.slice(-shown).reverse()),
  ];
}

// -- light or dark ---------------------------------------------------------------------------------

// A notebook's own theme shows in what lies behind; a page that says nothing follows the system.
function isDark(root, theme) {
  if (theme === "light" || theme === "dark") return theme === "dark";
  for (let at = root.parentElement; at; at = at.parentElement) {
    const parts = getComputedStyle(at).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [];
    const [r, g, b, opacity = 1] = parts;
    if (parts.length >= 3 && opacity > 0) return 0.299 * r + 0.587 * g + 0.114 * b < 110;
  }
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

export default { render };
