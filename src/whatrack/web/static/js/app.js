// The pages' own behaviour: dialogs, toasts, the board's drag, live refresh, copying. Everything works without it too.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const TOAST_MS = 8000;
const REFRESH_MS = 5000;

// The server opens and closes the one dialog: HX-Trigger {"wt:dialog": …}, {"wt:dialog-close": …}, {"wt:focus": selector}.
const dialog = document.getElementById("dialog");
document.addEventListener("wt:dialog", () => dialog.open || dialog.showModal());
document.addEventListener("wt:dialog-close", () => dialog.close());
document.addEventListener("wt:focus", (event) => {
  const focus = () => document.querySelector(event.detail.value)?.focus();
  focus();
  document.addEventListener("htmx:after:settle", focus, { once: true });
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close]") || event.target === dialog) {
    event.preventDefault();
    dialog.close();
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) navigator.clipboard.writeText(copy.dataset.copy).then(() => toast("toast-copied"));
  const eye = event.target.closest("[data-reveal]");
  if (eye) {
    const input = document.getElementById(eye.dataset.reveal);
    input.type = input.type === "password" ? "text" : "password";
    eye.setAttribute("aria-pressed", String(input.type === "text"));
  }
  const jump = event.target.closest("[data-dismiss]");
  if (jump) jump.closest("[data-toast]").remove();
});
// A menu whose choice was made has done its work; the page may swap what it hangs on.
document.addEventListener("click", (event) => {
  const menu = event.target.closest(".pop-item")?.closest(":popover-open");
  if (menu) setTimeout(() => menu.hidePopover());
});
dialog.addEventListener("close", () => window.htmx?.trigger(document.body, "wt:dialog-closed"));

// Undo, as everywhere: while it is offered, and nobody is typing.
document.addEventListener("keydown", (event) => {
  const undo = document.querySelector("#toasts [data-undo]");
  if (!undo || event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
  if (dialog.open || event.target.closest("input, textarea, select, [contenteditable]")) return;
  event.preventDefault();
  undo.click();
});

function toast(template) {
  if (document.querySelector(`[data-from="${template}"]`)) return; // one of a kind is enough
  const copy = document.getElementById(template).content.cloneNode(true);
  copy.firstElementChild.dataset.from = template;
  document.getElementById("toasts").append(copy);
  prepare();
}
document.addEventListener("htmx:error", () => toast("toast-offline"));

// A form that filters: send it when a choice changes, not only at its button.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (form && event.target.name && event.target.type !== "date") form.requestSubmit(); // a date is typed in parts
});

// A second click while the first is under way would only be told that the version has moved on.
document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (form.dataset.sending) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    form.dataset.sending = "";
    setTimeout(() => delete form.dataset.sending, 1000);
  },
  true,
);

let dragging = false;
const busy = () =>
  dragging || dialog.open || document.hidden || document.querySelector("#board :popover-open, #board .htmx-request");
setInterval(() => {
  const board = document.getElementById("board");
  if (board && !busy()) window.htmx?.trigger(board, "wt:refresh");
}, REFRESH_MS);
// Whatever swaps the board keeps the columns as long as they were made by "Carregar mais".
document.addEventListener("htmx:config:request", (event) => {
  const columns = all("#board [data-stage]").map((list) => `${list.dataset.stage}:${list.querySelectorAll("article").length}`);
  if (columns.length) event.detail.ctx.request.headers["X-Loaded"] = columns.join(" ");
});

// Dropping a card presses the button of that column in the card's own menu: one way to move a ticket.
function drop(event) {
  dragging = false;
  if (event.from === event.to) return;
  const button = event.item.querySelector(`[data-to="${event.to.dataset.stage}"]`);
  event.from.insertBefore(event.item, event.from.children[event.oldIndex] ?? null);
  setTimeout(() => {
    all('#board [style=""]').forEach((each) => each.removeAttribute("style")); // or the CSP stops the swap from copying it
    button?.click();
  });
}
function sortable() {
  all("[data-draggable] [data-stage]").forEach((list) => {
    list.sorting ??= window.Sortable.create(list, {
      group: "tickets",
      animation: 150,
      delay: 150,
      delayOnTouchOnly: true,
      sort: false,
      draggable: "article",
      filter: "button, .pop, .btn",
      preventOnFilter: false,
      onStart: () => (dragging = true),
      onEnd: drop,
    });
  });
}
// Only a pointer drags: who comes by keyboard, or just reads, does not load it.
function loadSortable() {
  if (window.Sortable) return sortable();
  const board = document.querySelector("[data-draggable]");
  if (!board) return;
  board.addEventListener(
    "pointerover",
    () => {
      if (document.querySelector("script[data-sortable]")) return;
      const script = document.createElement("script");
      script.src = board.dataset.sortable;
      script.dataset.sortable = "";
      script.addEventListener("load", sortable);
      document.head.append(script);
    },
    { once: true },
  );
}

// Tabs that do not fit begin with the open one in the middle.
all(".subnav [aria-current]").forEach((open) => {
  const [tab, row] = [open, open.parentElement].map((each) => each.getBoundingClientRect());
  open.parentElement.scrollLeft += (tab.left + tab.right - row.left - row.right) / 2;
});

function prepare() {
  all("[data-toast]:not([data-on])").forEach((box) => {
    box.dataset.on = "";
    if (!box.classList.contains("toast-box-error")) setTimeout(() => box.remove(), TOAST_MS);
  });
  all("[data-reveal]").forEach((button) => (button.hidden = false));
  loadSortable();
}
document.addEventListener("htmx:after:swap", prepare);
prepare();
