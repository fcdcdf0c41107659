
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
const system = window.matchMedia("(prefers-color-scheme: dark)");
const { figures, templates } = JSON.parse(document.getElementById("lensloc-figures").textContent);
const button = document.getElementById("theme");
const places = new Map(figures.map((figure) => [figure.id, document.getElementById(figure.id)]));
let chosen = null; // a theme, if one was chosen
let explorerModel = null;
let drawnWidth = 0;

// plotly.js stands compressed on the page; its hash is among those that the page lets run.
async function unpackPlotly() {
  const packed = document.getElementById("lensloc-plotly");
  const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
  packed.remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  document.head.append(element("script", {}, text));
}

const theme = () => chosen ?? (system.matches ? "dark" : "light");

function showTheme(name) {
  document.documentElement.dataset.theme = name;
  button.textContent = name === "dark" ? "Light theme" : "Dark theme";
  explorerModel?.set("theme", name);
  for (const figure of figures) drawFigure(figure, name);
}

function drawFigure(figure, name, width = null) {
  const place = places.get(figure.id);
  for (const [path, light, dark] of figure.themes) {
    const owner = path.slice(0, -1).reduce((found, key) => found[key], figure);
    owner[path.at(-1)] = name === "dark" ? dark : light;
  }
  const layout = { ...structuredClone(figure.layout), template: templates[name] };
  layout.width = Math.max(width === null ? place.clientWidth : width / ON_PAPER, figure.least);
  // On paper figures are as small as its words; nothing scrolls, so what keeps its width is smaller.
  place.style.zoom = width === null ? "" : width / layout.width;
  if (place.clientWidth < figure.least) layout.dragmode = false; // a finger scrolls
  const style = getComputedStyle(document.documentElement);
  layout.font = { ...layout.font, family: "system-ui, sans-serif" };
  layout.font.color = style.getPropertyValue("--ink").trim();
  const traces = structuredClone(figure.data);
  if (layout.width < NARROW && !figure.least) makeNarrow(figure, traces, layout);
  place.style.minHeight = `${layout.height}px`;
  Plotly.newPlot(place, traces, layout, CONFIG); // react would keep margins of another layout
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
  const width = document.getElementById("main").clientWidth;
  if (width === drawnWidth) return;
  drawnWidth = width;
  for (const figure of figures) drawFigure(figure, document.documentElement.dataset.theme);
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
  await unpackPlotly();
} catch (problem) {
  for (const place of places.values()) place.textContent = `No figure: ${problem.message}`;
  throw problem;
}
drawnWidth = document.getElementById("main").clientWidth;
showTheme(theme());
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
// Paper is light, and as wide as paper is.
window.addEventListener("beforeprint", () => {
  document.documentElement.dataset.theme = "light";
  explorerModel?.set("theme", "light");
  for (const figure of figures) {
    const beside = places.get(figure.id).closest(".grid") !== null;
    drawFigure(figure, "light", Math.min(beside ? 310 : 660, drawnWidth));
  }
});
window.addEventListener("afterprint", () => showTheme(theme()));
document.documentElement.dataset.ready = "true";
