// What is wrong with how a drawn figure lies: words over each other, words and colour bars over
// panels, words cut at the figure's edge, panels without room.

const OUTSIDE = ".gtitle, .xtitle, .ytitle, .xtick text, .ytick text, .legendtext, .cbtitle text," +
  " .cbaxis text, .colorbar text";
const LEAST = 60; // pixels of a panel

// The four corners of a word, which may be turned.
function corners(element, origin) {
  const box = element.getBBox(), to = element.getScreenCTM();
  return [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => {
    const at = new DOMPoint(box.x + x * box.width, box.y + y * box.height).matrixTransform(to);
    return [at.x - origin.left, at.y - origin.top];
  });
}

function rectangle(x0, y0, x1, y1) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

// How deep two convex shapes lie in each other, in pixels: separating axes.
function depth(one, other) {
  let least = Infinity;
  for (const shape of [one, other]) {
    for (let k = 0; k < shape.length; k++) {
      const [x0, y0] = shape[k], [x1, y1] = shape[(k + 1) % shape.length];
      const size = Math.hypot(x1 - x0, y1 - y0);
      if (size === 0) continue;
      const along = ([x, y]) => (x * (y1 - y0) - y * (x1 - x0)) / size;
      const [a, b] = [one.map(along), other.map(along)];
      const shared = Math.min(Math.max(...a), Math.max(...b)) -
        Math.max(Math.min(...a), Math.min(...b));
      least = Math.min(least, shared);
    }
  }
  return least;
}

function words(element) {
  return element.textContent.slice(0, 40);
}

function faultsOf(figure) {
  const full = figure._fullLayout, found = [];
  const origin = figure.querySelector(".svg-container").getBoundingClientRect();
  const panels = Object.values(full._plots).map(({ xaxis, yaxis }) => ({
    x0: xaxis._offset, x1: xaxis._offset + xaxis._length,
    y0: yaxis._offset, y1: yaxis._offset + yaxis._length,
  }));
  const areas = panels.map((p) => rectangle(p.x0, p.y0, p.x1, p.y1));
  const texts = [...figure.querySelectorAll(".main-svg text")]
    .filter((each) => each.textContent.trim() && each.getBBox().width > 0)
    .filter((each) => getComputedStyle(each).visibility !== "hidden")
    .filter((each) => each.style.opacity !== "0" && !each.closest(".hoverlayer"))
    .map((element) => ({
      element, shape: corners(element, origin), outside: element.matches(OUTSIDE),
    }));
  for (const { element, shape, outside } of texts) {
    const xs = shape.map((at) => at[0]), ys = shape.map((at) => at[1]);
    const cut = Math.max(-Math.min(...xs), -Math.min(...ys),
      Math.max(...xs) - full.width, Math.max(...ys) - full.height);
    if (cut > 1) found.push(`"${words(element)}" is cut by ${cut.toFixed(0)} px`);
    if (outside) {
      const deep = Math.max(...areas.map((area) => depth(shape, area)));
      if (deep > 3) found.push(`"${words(element)}" lies ${deep.toFixed(0)} px in a panel`);
    }
  }
  texts.sort((a, b) => Math.min(...a.shape.map((at) => at[0])) -
    Math.min(...b.shape.map((at) => at[0])));
  for (let i = 0; i < texts.length; i++) {
    const right = Math.max(...texts[i].shape.map((at) => at[0]));
    for (let k = i + 1; k < texts.length; k++) {
      if (Math.min(...texts[k].shape.map((at) => at[0])) > right) break;
      const deep = depth(texts[i].shape, texts[k].shape);
      if (deep > 3) {
        found.push(`"${words(texts[i].element)}" and "${words(texts[k].element)}" lie ` +
          `${deep.toFixed(0)} px over each other`);
      }
    }
  }
  for (const name of [".legend", ".colorbar"]) {
    for (const element of figure.querySelectorAll(name)) {
      const box = (element.querySelector(".bg, .cbbg") || element).getBoundingClientRect();
      const [x, y] = [box.left - origin.left, box.top - origin.top];
      const shape = rectangle(x, y, x + box.width, y + box.height);
      const deep = Math.max(...areas.map((area) => depth(shape, area)));
      if (deep > 3) found.push(`${name} lies ${deep.toFixed(0)} px in a panel`);
      const cut = Math.max(-x, -y, x + box.width - full.width, y + box.height - full.height);
      if (cut > 1) found.push(`${name} is cut by ${cut.toFixed(0)} px`);
      for (const text of texts) {
        if (element.contains(text.element)) continue;
        const lies = depth(shape, text.shape);
        if (lies > 3) found.push(`${name} lies ${lies.toFixed(0)} px over "${words(text.element)}"`);
      }
    }
  }
  for (const p of panels) {
    const least = Math.min(p.x1 - p.x0, p.y1 - p.y0);
    if (least < LEAST) found.push(`a panel is only ${least.toFixed(0)} px wide or high`);
  }
  return found;
}
