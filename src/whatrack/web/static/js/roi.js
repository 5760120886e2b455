// The report's own behaviour: what a figure is made of, the chart's cursor, printing. Everything works without it too.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const GAP = 6;

// One note for all figures: shown where one is pointed at, focused, or first tapped; Esc takes it away.
let owner = null;
const tip = () => document.getElementById("tip");
function line(label, text, list) {
  if (!text) return;
  const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
  dt.textContent = label;
  dd.textContent = text;
  list.append(dt, dd);
}
function fill(box, figure) {
  const words = JSON.parse(box.dataset.words);
  const known = document.querySelector(`#tips [data-for="${figure.dataset.tip}"]`);
  const [title, meaning, source] = known ? [...known.children].map((each) => each.textContent) : ["", "", ""];
  const whose = figure.dataset.about ?? figure.closest("tr")?.querySelector(".row-name")?.textContent.trim() ?? "";
  const head = document.createElement("p");
  head.className = "font-semibold";
  head.textContent = figure.closest("thead") || !whose ? title : `${title} · ${whose}`;
  const list = document.createElement("dl");
  line(words[0], meaning, list);
  line(words[1], figure.dataset.terms, list);
  line(words[2], source, list);
  line(words[3], document.querySelector("[data-age]")?.dataset.age, list);
  box.replaceChildren(head, list);
  if (figure.matches("a.figure")) {
    const link = document.createElement("a");
    link.className = "link-plain";
    link.href = figure.href;
    link.tabIndex = -1;
    link.textContent = words[4];
    box.append(link);
  }
}
function place() {
  const box = tip();
  const at = owner.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.left, innerWidth - box.offsetWidth - 8));
  const below = at.bottom + GAP + box.offsetHeight < innerHeight;
  box.style.setProperty("--left", `${left}px`);
  box.style.setProperty("--top", `${below ? at.bottom + GAP : Math.max(8, at.top - GAP - box.offsetHeight)}px`);
}
function show(figure) {
  const box = tip();
  if (!box || owner === figure) return;
  owner?.removeAttribute("aria-describedby");
  owner = figure;
  fill(box, figure);
  if (!box.matches(":popover-open")) box.showPopover();
  place();
  figure.setAttribute("aria-describedby", "tip");
}
function hide() {
  owner?.removeAttribute("aria-describedby");
  owner = null;
  const box = tip();
  if (box?.matches(":popover-open")) box.hidePopover();
}
let leaving;
document.addEventListener("pointerover", (event) => {
  if (event.pointerType !== "mouse") return;
  clearTimeout(leaving);
  const figure = event.target.closest("[data-tip]");
  if (figure) show(figure);
  else if (owner && !event.target.closest("#tip")) leaving = setTimeout(hide, 200); // time to move into it
});
document.addEventListener("focusin", (event) => {
  const figure = event.target.closest("[data-tip]");
  if (figure?.matches(":focus-visible")) show(figure);
  else if (!event.target.closest("#tip")) hide();
});
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
// It goes along with its figure, and away with it.
function follow() {
  if (!owner) return;
  const at = owner.getBoundingClientRect();
  if (at.bottom < 0 || at.top > innerHeight) hide();
  else place();
}
document.addEventListener("scroll", follow, { capture: true, passive: true });
// A finger cannot point: its first tap tells, the second (or the link in the note) opens.
document.addEventListener("click", (event) => {
  const figure = event.target.closest("[data-tip]");
  if (!figure) {
    if (!event.target.closest("#tip")) hide();
    return;
  }
  if (event.pointerType !== "touch" || figure.closest("thead") || owner === figure) return;
  event.preventDefault();
  show(figure);
});

// The chart: a pointer or the arrows move a cursor over the days; what it says stands in the table below.
function chart(group) {
  group.dataset.on = "";
  const rows = all("[data-chart-data] tbody tr", group.parentElement);
  const [svg, cursor, note] = [".chart-plot svg", ".chart-cursor", ".chart-tip"].map((each) => group.querySelector(each));
  let place = rows.length - 1;
  const point = (wanted) => {
    place = Math.max(0, Math.min(rows.length - 1, wanted));
    const heads = all("[data-chart-data] thead th", group.parentElement).map((each) => each.textContent);
    const cells = [...rows[place].cells].map((each) => each.textContent.trim());
    const x = rows[place].dataset.x;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    note.hidden = false;
    note.textContent = cells.map((text, column) => (column ? `${heads[column]} ${text}` : text)).join(" · ");
    note.style.setProperty("--x", `${x / 10}%`);
  };
  const away = () => {
    cursor.setAttribute("visibility", "hidden");
    note.hidden = true;
  };
  if (!rows.length) return;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    point(Math.round(((event.clientX - box.left) / box.width) * (rows.length - 1)));
  });
  group.addEventListener("pointerleave", away);
  group.addEventListener("blur", away);
  group.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (step === undefined || event.target !== group) return;
    event.preventDefault();
    point(note.hidden ? place : step);
  });
}

// A row opens to its children beneath it, and closes with all that came under it. Elsewhere its name leads to them.
const depth = (row) => Number(row.dataset.depth ?? 0);
function closed(row) {
  while (row.nextElementSibling && depth(row.nextElementSibling) > depth(row)) row.nextElementSibling.remove();
}
async function opened(row, button) {
  row.setAttribute("aria-busy", "true");
  const answer = await fetch(button.dataset.children, { headers: { "HX-Request": "true" } }).catch(() => null);
  row.removeAttribute("aria-busy");
  if (!answer?.ok) {
    location.href = row.querySelector("a.row-name").href;
    return;
  }
  const box = document.createElement("template");
  box.innerHTML = await answer.text();
  if (button.getAttribute("aria-expanded") !== "true") return; // closed again meanwhile
  const children = [...box.content.children];
  for (const child of children) child.dataset.depth = depth(row) + 1;
  row.after(...children);
}
document.addEventListener("click", (event) => {
  const button = event.target.closest(".opener");
  if (!button) return;
  const row = button.closest("tr");
  const isOpen = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!isOpen));
  if (isOpen) closed(row);
  else opened(row, button);
});

function prepare() {
  all("[data-chart]:not([data-on])").forEach(chart);
  all("[data-print]").forEach((button) => (button.hidden = false));
}
document.addEventListener("click", (event) => event.target.closest("[data-print]") && setTimeout(() => window.print(), 50));
document.addEventListener("htmx:after:swap", prepare);
prepare();

// Who only watches sees the figures go along; nothing is swapped under a hand, a note, an opened row or a selection.
const WATCH_MS = 20000;
const TOUCHED = '#live [aria-expanded="true"], #live details[open], #live :checked, :popover-open';
const watches = () =>
  !document.hidden && !document.querySelector(TOUCHED) && !document.activeElement?.closest("main") && !String(getSelection());
async function goAlong() {
  if (!watches()) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const there = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!watches()) return;
  const [left, top] = [...all(".figures-scroll").flatMap((each) => [each.scrollLeft, each.scrollTop]), 0, 0];
  for (const each of all("[data-live]")) {
    const next = there.getElementById(each.id);
    if (next) each.replaceWith(document.importNode(next, true));
  }
  document.querySelector(".figures-scroll")?.scrollTo(left, top);
  prepare();
}
if (document.querySelector("[data-live]")) setInterval(goAlong, WATCH_MS);

// A note that is pointed to from the totals is folded away: unfold it before the browser goes there.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#note-"]');
  const fold = link && document.querySelector(link.hash)?.closest("details");
  if (fold) fold.open = true;
});

// A long list of accounts is narrowed to those whose name has what is typed, accents aside.
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-finds]")) return;
  const wanted = plain(event.target.value.trim());
  for (const label of event.target.parentElement.querySelectorAll(".tick-list label"))
    label.hidden = !plain(label.textContent).includes(wanted);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("[data-finds]")) event.preventDefault();
});
