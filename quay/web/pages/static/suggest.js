// Names to choose from, while one is typed to whom a right can be given.

const PAUSE_MS = 150;

for (const input of document.querySelectorAll("input[data-suggest]")) {
  const list = document.getElementById(input.dataset.suggest);
  const teams = "teams" in input.dataset;
  let timer;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const typed = input.value.trim();
      if (!typed) return;
      const query = new URLSearchParams({ namespace: input.dataset.namespace, includeTeams: String(teams) });
      const answer = await fetch(`/api/v1/entities/${encodeURIComponent(typed)}?${query}`);
      if (!answer.ok || input.value.trim() !== typed) return;
      const { results } = await answer.json();
      const fitting = results.filter((one) => (one.kind === "team") === teams && one.kind !== "org");
      list.replaceChildren(...fitting.map((one) => new Option("", one.name)));
    }, PAUSE_MS);
  });
}

// One box for all the others of a list, how many are chosen, and which, before something is done to them.
const NAMED = 20;

for (const form of document.querySelectorAll("form[data-boxes]")) {
  const list = document.getElementById(form.dataset.boxes) ?? form;
  const boxes = [...list.querySelectorAll("tbody input[type=checkbox]:not(:disabled)")];
  const buttons = [...form.querySelectorAll("[data-chosen]")].map((button) => [button, button.textContent, button.dataset.confirm]);
  const all = document.createElement("input");
  all.type = "checkbox";
  all.setAttribute("aria-label", "Choose all on this page");
  list.querySelector("thead th").append(all);
  const show = () => {
    const names = boxes.filter((box) => box.checked).map((box) => box.value);
    const count = names.length;
    for (const [button, words, question] of buttons) {
      button.textContent = count ? `${words} (${count})` : words;
      button.disabled = !count;
      if (question) button.dataset.confirm = `${question}\n${names.slice(0, NAMED).join(", ")}${count > NAMED ? ", …" : ""}`;
    }
    all.checked = count > 0 && count === boxes.length;
    all.indeterminate = count > 0 && !all.checked;
  };
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    show();
  });
  list.addEventListener("change", show);
  show();
}
