// Runs inside a report in the browser of a test: uses the page as a reader would and writes down what came of it.
"use strict";
const out = {errors: []};
addEventListener("error", e => out.errors.push(String(e.message)));
const pause = () => new Promise(done => setTimeout(done, 20));
const table = document.getElementById("runs"), heads = [...table.tHead.rows[0].cells];
const names = heads.map(h => h.textContent.trim());
const column = name => [...table.tBodies[0].rows].map(r => r.cells[names.indexOf(name)].textContent.trim());
const head = name => heads[names.indexOf(name)];
const press = name => head(name).querySelector("button").click();
const search = document.getElementById("search");
const filter = async words => {
  search.value = words;
  search.dispatchEvent(new Event("input", {bubbles: true}));
  await pause();
  return {rows: table.tBodies[0].rows.length, said: document.getElementById("count").textContent};
};

// relative luminance and contrast as WCAG 2.1 defines them
const rgb = text => text.match(/[\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
};
const contrast = e => {
  const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
  return (a + .05) / (b + .05);
};

(async () => {
  try {
    out.width = innerWidth;
    out.page = document.documentElement.scrollWidth;
    out.dark = matchMedia("(prefers-color-scheme: dark)").matches;
    out.names = names;
    out.broken = window.broken === undefined ? 0 : 1;
    out.images = [...document.images].map(i => ({width: i.naturalWidth, height: i.naturalHeight}));
    out.all = table.tBodies[0].rows.length;
    out.figures = [...document.querySelectorAll("figure svg")].map(svg => {
      const box = svg.getBoundingClientRect();
      return {width: box.width, height: box.height, shapes: svg.querySelectorAll("path, use, circle, polyline").length,
        texts: svg.querySelectorAll("text").length};
    });
    out.contrast = {};
    for (const s of ["body", ".soft", "a", "thead th", "td", ".state", ".chips button", ".button", "code", "figcaption",
      "dt", "summary"]) {
      for (const e of document.querySelectorAll(s)) out.contrast[s] = Math.min(out.contrast[s] ?? 99, contrast(e));
    }
    out.unlabelled = [...document.querySelectorAll("button, a, input")].filter(e =>
      !e.textContent.trim() && !(e.labels && e.labels.length) && !e.getAttribute("aria-label")).length;
    const seen = new Map();
    document.querySelectorAll("[id]").forEach(e => seen.set(e.id, (seen.get(e.id) || 0) + 1));
    out.twice = [...seen].filter(([, n]) => n > 1).map(([id]) => id);

    press("certified@0.1");
    out.down = {order: column("certified@0.1"), aria: head("certified@0.1").getAttribute("aria-sort")};
    press("certified@0.1");
    out.up = {order: column("certified@0.1"), aria: head("certified@0.1").getAttribute("aria-sort")};
    press("norm");
    out.norm = {order: column("norm"), aria: head("certified@0.1").getAttribute("aria-sort")};

    out.word = await filter("budgets");
    out.less = await filter("norm=inf budget<4");
    out.budgets = column("budget");
    out.none = await filter("no such thing anywhere");
    out.odd = await filter("budgt<4");
    out.html = await filter("<" + "/script>");
    out.again = await filter("");
    const chip = document.querySelector('.chips button[data-state="failed"]');
    chip.click();
    out.failed = {rows: table.tBodies[0].rows.length, pressed: chip.getAttribute("aria-pressed"), states: column("state")};
    chip.click();

    const row = [...table.tBodies[0].rows].find(r => r.dataset.id === "5");
    row.querySelector(".run").click();
    const dialog = document.getElementById("run");
    out.open = {open: dialog.open, text: dialog.innerText, inside: dialog.contains(document.activeElement),
      wide: dialog.scrollWidth <= dialog.clientWidth + 1};
    document.getElementById("close").click();
    out.closed = !dialog.open;
    await pause();
    location.hash = "#run-7";
    await pause();
    out.linked = {open: dialog.open, title: document.getElementById("which").textContent};
  } catch (e) {
    out.errors.push(String(e.stack || e));
  }
  parent.postMessage(JSON.stringify(out), "*");
})();
