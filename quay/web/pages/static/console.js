// What scripts add to the console: copying, asking before something is deleted, the slash that finds, the tab in sight.

import "./live.js";
import "./suggest.js";

async function copy(place) {
  if (navigator.clipboard) return navigator.clipboard.writeText(place.textContent);
  getSelection().selectAllChildren(place); // over plain HTTP, browsers have no other way
  return document.execCommand("copy");
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await copy(button.previousElementSibling);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
}

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    document.querySelector("[data-key='/']")?.focus();
  }
});

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
