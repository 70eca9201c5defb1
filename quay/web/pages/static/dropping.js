// A form to which files can be dropped: what uploads of archives and of bundles have in common.

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes) {
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1);
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

export function span(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function element(name, text, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.textContent = text;
  return made;
}

export class Dropping {
  constructor(form, button) {
    this.form = form;
    this.button = form.querySelector(button);
    this.input = form.querySelector("input[type=file]");
    this.drop = form.querySelector(".drop");
    this.cancel = form.querySelector("[data-cancel]");
    this.progress = form.querySelector("[data-progress]");
    this.result = form.querySelector("[data-result]");
    form.hidden = false;
    form.addEventListener("submit", (event) => this.begin(event));
    this.input.addEventListener("change", () => this.chosen());
    this.cancel.addEventListener("click", () => this.request?.abort());
    for (const kind of ["dragenter", "dragover"]) this.drop.addEventListener(kind, (event) => this.over(event, true));
    for (const kind of ["dragleave", "drop"]) this.drop.addEventListener(kind, (event) => this.over(event, false));
    this.drop.addEventListener("drop", (event) => this.dropped(event));
    window.addEventListener("beforeunload", (event) => {
      if (this.request) event.preventDefault();
    });
  }

  over(event, inside) {
    event.preventDefault();
    this.drop.classList.toggle("over", inside);
  }

  dropped(event) {
    if (this.request || !event.dataTransfer.files.length) return;
    this.input.files = this.taken(event.dataTransfer.files);
    this.chosen();
  }

  // Of the files that were dropped, those that the form takes.
  taken(files) {
    return files;
  }

  show(name, bytes) {
    this.drop.querySelector("b").textContent = name;
    this.drop.querySelector("span").textContent = bytes;
  }

  busy(whether) {
    this.button.disabled = this.input.disabled = whether;
    this.cancel.hidden = this.progress.hidden = !whether;
    if (whether) this.result.replaceChildren();
  }

  tell(share, said) {
    this.progress.querySelector("progress").value = share;
    this.progress.querySelector("[data-said]").textContent = said;
  }
}

// How far it is, in words.
export function sofar({ loaded, total }, seconds) {
  const left = (total - loaded) / (loaded / Math.max(seconds, 0.1));
  return `${size(loaded)} of ${size(total)}, ${span(left)} left`;
}
