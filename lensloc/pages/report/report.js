
// -- the report: its theme, its figures, and the explorer in it ------------------------------------

const ON_PAPER = 0.72; // of the size on a screen
const NARROW = 680; // below, panels stand above each other
const CONFIG = {
  responsive: false,
  displaylogo: false,
  displayModeBar: "hover",
  showSendToCloud: false, // nothing leaves the page
  modeBarButtonsToRemove: ["select2d", "lasso2d"],
};
const AHEAD = "600px 0px"; // how far outside the window figures are drawn
const system = window.matchMedia("(prefers-color-scheme: dark)");
const { figures, templates } = JSON.parse(document.getElementById("lensloc-figures").textContent);
const button = document.getElementById("theme");
const main = document.getElementById("main");
const places = new Map(figures.map((figure) => [figure.id, document.getElementById(figure.id)]));
const near = new Set(); // figures that are in the window or close to it
let chosen = null; // a theme, if one was chosen
let explorerModel = null;
let reservedWidth = 0;
let plotlySource = null;
let drawing = null; // the timer of what is drawn next

// plotly.js stands compressed on the page; its hash is among those that the page lets run.
async function unpackPlotly() {
  const packed = document.getElementById("lensloc-plotly");
  const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
  packed.remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const theme = () => chosen ?? (system.matches ? "dark" : "light");

function showTheme(name) {
  document.documentElement.dataset.theme = name;
  button.textContent = name === "dark" ? "Light theme" : "Dark theme";
  explorerModel?.set("theme", name);
  drawAnew();
}

// What is drawn no longer fits: what is near is drawn again, all else when it comes near.
function drawAnew() {
  reservedWidth = main.clientWidth;
  document.documentElement.dataset.width = reservedWidth;
  for (const figure of figures) {
    const place = places.get(figure.id);
    delete place.dataset.drawn;
    if (!near.has(figure)) reserve(figure);
  }
  drawSoon();
}

// One figure at a time, so that the page scrolls and answers in between.
function drawSoon() {
  drawing ??= setTimeout(() => {
    drawing = null;
    const next = figures.find((f) => near.has(f) && !places.get(f.id).dataset.drawn);
    if (!next) return;
    drawFigure(next, document.documentElement.dataset.theme);
    drawSoon();
  });
}

function drawAll(name, width = () => null) {
  for (const figure of figures) drawFigure(figure, name, width(figure));
}

const isPlot = (place) => place.querySelector(".plot-container") !== null;

// An empty place as large as the figure will be, so that nothing moves when it is drawn.
function reserve(figure) {
  const place = places.get(figure.id);
  if (isPlot(place)) Plotly.purge(place);
  place.replaceChildren();
  place.style.zoom = "";
  const { layout } = laidOut(figure, figure.data.map((trace) => ({ ...trace })));
  place.style.minHeight = `${layout.height}px`;
  if (figure.least) {
    const style = `width:${layout.width}px;height:${layout.height}px`;
    place.append(element("div", { style }));
  }
}

function laidOut(figure, traces, width = null) {
  // What is folded in has no width yet.
  const room = places.get(figure.id).clientWidth || main.clientWidth;
  const layout = structuredClone(figure.layout);
  layout.width = Math.max(width === null ? room : width / ON_PAPER, figure.least);
  if (room < figure.least) layout.dragmode = false; // a finger scrolls
  if (layout.width < NARROW && !figure.least) makeNarrow(figure, traces, layout);
  return { traces, layout };
}

function drawFigure(figure, name, width = null) {
  const place = places.get(figure.id);
  if (!window.Plotly) document.head.append(element("script", {}, plotlySource)); // runs at once
  for (const [path, light, dark] of figure.themes) {
    const owner = path.slice(0, -1).reduce((found, key) => found[key], figure);
    owner[path.at(-1)] = name === "dark" ? dark : light;
  }
  const { traces, layout } = laidOut(figure, structuredClone(figure.data), width);
  // On paper figures are as small as its words; nothing scrolls, so what keeps its width is smaller.
  place.style.zoom = width === null ? "" : width / layout.width;
  layout.template = templates[name];
  const style = getComputedStyle(document.documentElement);
  layout.font = { ...layout.font, family: "system-ui, sans-serif" };
  layout.font.color = style.getPropertyValue("--ink").trim();
  place.style.minHeight = `${layout.height}px`;
  if (!isPlot(place)) place.replaceChildren();
  Plotly.newPlot(place, traces, layout, CONFIG); // react would keep margins of another layout
  place.dataset.drawn = name;
}

// On a phone: panels one above the other, the colour bar below, smaller margins.
function makeNarrow(figure, traces, layout) {
  layout.margin = { ...layout.margin, l: 52, r: 10 };
  layout.dragmode = false; // a finger scrolls the page
  let bars = 0;
  const inner = layout.height - 130;
  for (const trace of traces) {
    if (trace.type !== "heatmap" || trace.showscale === false) continue;
    trace.colorbar = { ...trace.colorbar, orientation: "h", x: 0.5, xanchor: "center", len: 0.9 };
    trace.colorbar = { ...trace.colorbar, y: (-64 - 80 * bars) / inner, yanchor: "top" };
    trace.colorbar.title = { text: trace.colorbar.title.text.replace("<br>", " "), side: "bottom" };
    trace.texttemplate = layout.width < 420 && trace.x?.length > 5 ? "" : trace.texttemplate;
    layout.margin.b = 150 + 80 * bars;
    layout.height += 80;
    bars += 1;
  }
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis/.test(name)))
    if (layout[key].title) layout[key].title.font = { size: 13 };
  if (figure.panels) stackPanels(layout, traces);
}

function stackPanels(layout, traces) {
  const numbers = Object.keys(layout).flatMap((key) => key.match(/^xaxis(\d*)$/)?.[1] ?? []);
  const named = traces.filter((trace) => trace.name && trace.showlegend !== false);
  const entries = layout.showlegend === false ? 0 : named.length;
  const below = 10 + 20 * entries;
  // Names of conditions and controls stand slanted below a panel.
  const names = traces.flatMap((trace) => (Array.isArray(trace.x) ? trace.x : []));
  const lines = names.flatMap((name) => (typeof name === "string" ? name.split("<br>") : []));
  const longest = Math.max(...lines.map((line) => line.length), 0);
  const labels = 60 + 5 * longest;
  const panel = 200 + labels;
  const inner = panel * numbers.length;
  layout.height = layout.margin.t + inner + below;
  layout.margin.b = below;
  numbers.forEach((n, i) => {
    layout[`xaxis${n}`].domain = [0, 1];
    const top = 1 - i / numbers.length;
    layout[`yaxis${n}`].domain = [top - (panel - labels) / inner, top - 10 / inner];
    const title = layout.annotations?.[i];
    if (title) Object.assign(title, { x: 0.5, y: top - 8 / inner, yanchor: "bottom" });
  });
  if (layout.legend)
    layout.legend = { ...layout.legend, orientation: "v", y: 0, yanchor: "top" };
}

function redrawForWidth() {
  if (main.clientWidth !== reservedWidth) drawAnew();
}

// Figures are drawn when they come near; all at once where a browser cannot tell.
function watchFigures() {
  if (!("IntersectionObserver" in window)) {
    figures.forEach((figure) => near.add(figure));
    return drawAll(document.documentElement.dataset.theme);
  }
  const byPlace = new Map(figures.map((figure) => [places.get(figure.id), figure]));
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries)
        near[isIntersecting ? "add" : "delete"](byPlace.get(target));
      drawSoon();
    },
    { rootMargin: AHEAD },
  );
  for (const place of byPlace.keys()) observer.observe(place);
}

const stored = document.getElementById("lensloc-explorer-data");
if (stored) {
  const payload = JSON.parse(stored.textContent);
  explorerModel = pageModel({ payload, percent: payload.percent, side: "target", theme: theme() });
  render({ model: explorerModel, el: document.getElementById("lensloc-explorer") });
}
button.hidden = false;
document.documentElement.dataset.theme = theme(); // before figures are there
try {
  plotlySource = await unpackPlotly();
} catch (problem) {
  for (const place of places.values()) place.textContent = `No figure: ${problem.message}`;
  throw problem;
}
showTheme(theme());
watchFigures();
button.addEventListener("click", () => {
  chosen = theme() === "dark" ? "light" : "dark";
  showTheme(chosen);
});
system.addEventListener("change", () => showTheme(theme()));
let waiting = null;
window.addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(redrawForWidth, 120);
});
// Paper is light, as wide as paper is, and holds every figure.
window.addEventListener("beforeprint", () => {
  document.documentElement.dataset.theme = "light";
  explorerModel?.set("theme", "light");
  const most = reservedWidth;
  drawAll("light", ({ id }) => Math.min(places.get(id).closest(".grid") ? 310 : 660, most));
});
window.addEventListener("afterprint", () => showTheme(theme()));
document.documentElement.dataset.ready = "true";
