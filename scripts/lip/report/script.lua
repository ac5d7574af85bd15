--- What a report does in the browser: sorts and filters the table of runs, and shows one run with all that is known.
-- The page stands without it; it fetches nothing. Texts of runs only ever become text nodes.
return [[
"use strict";
(() => {
const table = document.getElementById("runs");
if (!table) return;
const FIRST = 300;
const data = JSON.parse(document.getElementById("data").textContent);
const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
const names = heads.map(h => h.textContent.trim().toLowerCase());
const all = [...body.rows].map((row, i) => ({row, i, state: row.dataset.state, values: null, text: null}));
const search = document.getElementById("search"), count = document.getElementById("count");
const more = document.getElementById("more"), tools = document.getElementById("tools");
const chips = [...tools.querySelectorAll(".chips button")];
const number = s => s === "inf" ? Infinity : s === "-inf" ? -Infinity : s.trim() === "" ? NaN : Number(s);
const values = r => r.values || (r.values = [...r.row.cells].map(c => c.dataset.v ?? c.textContent));
const keys = r => r.keys || (r.keys = [...r.row.cells].map(c => c.dataset.s ?? c.dataset.v ?? c.textContent));
const text = r => r.text || (r.text = values(r).join("\n").toLowerCase());
let order = all, column = -1, down = false, limit = FIRST;

// words that all must be found; name=value, name!=value, name<value and so on are about a column
const parts = word => word.match(/^([^<>=!]+)(<=|>=|!=|=|<|>)(.*)$/);
const term = word => {
  const m = parts(word), k = m ? names.indexOf(m[1].toLowerCase()) : -1;
  if (k < 0) return r => text(r).includes(word.toLowerCase());
  const [, , op, raw] = m, want = raw.replace(/^"(.*)"$/, "$1"), y = number(want);
  return r => {
    const v = values(r)[k], x = number(v);
    const both = !Number.isNaN(x) && !Number.isNaN(y), same = both ? x === y : v.toLowerCase() === want.toLowerCase();
    if (op === "=") return same;
    if (op === "!=") return !same;
    if (!both) return false;
    return op === "<" ? x < y : op === "<=" ? x <= y : op === ">" ? x > y : x >= y;
  };
};

const matching = () => {
  const tests = search.value.split(/\s+/).filter(w => w).map(term);
  const states = chips.filter(c => c.getAttribute("aria-pressed") === "true").map(c => c.dataset.state);
  return order.filter(r => (!states.length || states.includes(r.state)) && tests.every(t => t(r)));
};

const show = () => {
  const found = matching(), shown = found.slice(0, limit);
  body.replaceChildren(...shown.map(r => r.row));
  count.textContent = found.length === all.length && shown.length === all.length ? all.length + " runs"
    : found.length + " of " + all.length + " runs" + (shown.length < found.length
      ? ", the first " + shown.length + " shown" : "");
  const odd = search.value.split(/\s+/).map(parts).filter(m => m && !names.includes(m[1].toLowerCase()));
  if (odd.length) count.textContent += "; no column is called " + odd.map(m => m[1]).join(", ") + ": taken as words";
  more.hidden = shown.length === found.length;
};

const compare = k => (a, b) => {
  const s = keys(a)[k], t = keys(b)[k];
  if (s === "" || t === "") return s === t ? a.i - b.i : s === "" ? 1 : -1;
  const x = number(s), y = number(t), m = Number.isNaN(x), n = Number.isNaN(y);
  if (m !== n) return m ? 1 : -1;
  const c = m ? (s < t ? -1 : s > t ? 1 : 0) : x < y ? -1 : x > y ? 1 : 0;
  return (down ? -c : c) || a.i - b.i;
};

heads.forEach((head, k) => head.querySelector("button").addEventListener("click", () => {
  down = column === k ? !down : head.dataset.first === "down";
  column = k;
  heads.forEach(h => h.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  order = [...all].sort(compare(k));
  show();
}));
let timer = 0;
search.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => { limit = FIRST; show(); }, all.length > 2000 ? 150 : 0);
});
chips.forEach(c => c.addEventListener("click", () => {
  c.setAttribute("aria-pressed", String(c.getAttribute("aria-pressed") !== "true"));
  limit = FIRST;
  show();
}));
more.addEventListener("click", () => { limit = Infinity; show(); });

// ---- one run ----
const dialog = document.getElementById("run"), inside = document.getElementById("inside");
const byId = new Map(data.runs.map(r => [String(r.id), r]));
const make = (tag, content, cls) => {
  const e = document.createElement(tag);
  if (content !== undefined && content !== null) e.textContent = content;
  if (cls) e.className = cls;
  return e;
};
const plain = v => Array.isArray(v) && v.every(x => typeof x !== "object");
const word = v => plain(v) ? v.join(", ") : v !== null && typeof v === "object" ? JSON.stringify(v)
  : String(v);
const facts = (title, object) => {
  const keys = Object.keys(object || {}).sort();
  if (!keys.length) return;
  inside.append(make("h3", title));
  const list = make("dl", null, "facts");
  for (const key of keys) {
    const line = make("div");
    line.append(make("dt", key), make("dd", word(object[key])));
    list.append(line);
  }
  inside.append(list);
};
const copy = async (button, words) => {
  try { await navigator.clipboard.writeText(words); button.textContent = "Copied"; }
  catch { getSelection().selectAllChildren(button.previousSibling); button.textContent = "Selected"; }
};
const open = id => {
  const r = byId.get(id);
  if (!r) return;
  document.getElementById("which").textContent = r.sweep + "/" + r.number;
  const state = make("p");
  state.append(make("span", r.state, "state s-" + r.state), r.about ? " \u00b7 " + r.about : "");
  inside.replaceChildren(state);
  if (r.message) inside.append(make("pre", r.message));
  inside.append(make("h3", "The same again"));
  const line = make("div", null, "command"), button = make("button", "Copy", "button");
  const command = "lipwb reproduce " + r.key + " --store " + data.store;
  button.type = "button";
  button.addEventListener("click", () => copy(button, command));
  line.append(make("code", command), button);
  inside.append(line);
  facts("Result", r.row);
  facts("Configuration", Object.assign({}, data.config[r.sweep], r.config));
  facts("Provenance", data.provenance[r.provenance]);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
};
body.addEventListener("click", e => {
  const b = e.target.closest(".run");
  if (b) { e.preventDefault(); open(b.closest("tr").dataset.id); }
});
document.getElementById("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", e => { if (e.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => {
  if (location.hash.startsWith("#run-")) history.replaceState(null, "", "#table");
});
const fromHash = () => { if (location.hash.startsWith("#run-")) open(location.hash.slice(5)); };
addEventListener("hashchange", fromHash);

tools.hidden = false;
show();
fromHash();
})();
]]
