// What scripts add to an upload: a place to drop a file, how far it is, and a way to stop it.

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

class Upload {
  constructor(form) {
    this.form = form;
    this.file = form.querySelector("input[type=file]");
    this.drop = form.querySelector(".drop");
    this.button = form.querySelector("button.first");
    this.cancel = form.querySelector("[data-cancel]");
    this.progress = form.querySelector("[data-progress]");
    this.result = form.querySelector("[data-result]");
    form.hidden = false;
    form.addEventListener("submit", (event) => this.begin(event));
    this.file.addEventListener("change", () => this.chosen());
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
    const [first] = event.dataTransfer.files;
    const chosen = new DataTransfer();
    chosen.items.add(first);
    this.file.files = chosen.files;
    this.chosen();
  }

  chosen() {
    const file = this.file.files[0];
    this.drop.querySelector("b").textContent = file ? file.name : "Drop a file here";
    this.drop.querySelector("span").textContent = file ? size(file.size) : "or choose one";
  }

  begin(event) {
    event.preventDefault();
    const file = this.file.files[0];
    if (!file || this.request) return;
    const tag = this.form.elements.tag.value;
    const request = (this.request = new XMLHttpRequest());
    request.open("POST", this.form.dataset.upload + (tag ? `?tag=${encodeURIComponent(tag)}` : ""));
    request.setRequestHeader("X-CSRF-Token", this.form.dataset.csrf);
    request.setRequestHeader("Content-Type", "application/x-tar");
    request.responseType = "json";
    const began = performance.now();
    request.upload.addEventListener("progress", (sent) => this.sent(sent, (performance.now() - began) / 1000));
    request.addEventListener("load", () => this.ended(request.status, request.response));
    request.addEventListener("error", () => this.ended(0, null));
    request.addEventListener("abort", () => this.ended(-1, null));
    this.busy(true);
    request.send(file);
  }

  sent({ loaded, total }, seconds) {
    const bar = this.progress.querySelector("progress");
    bar.value = loaded / total;
    const left = (total - loaded) / (loaded / Math.max(seconds, 0.1));
    this.progress.querySelector("[data-said]").textContent =
      loaded < total ? `${size(loaded)} of ${size(total)}, ${span(left)} left` : "All is sent; the tags are being made.";
  }

  busy(whether) {
    this.button.disabled = this.file.disabled = whether;
    this.cancel.hidden = this.progress.hidden = !whether;
    if (whether) this.result.replaceChildren();
  }

  ended(status, answer) {
    this.request = null;
    this.busy(false);
    const said = element("p", "", { className: `flash ${status === 200 ? "done" : "wrong"}` });
    if (status === 200) {
      said.append(`Made of ${size(answer.bytes)} in ${answer.blobs} blobs: `);
      answer.tags.forEach((tag, number) => {
        if (number) said.append(", ");
        said.append(element("a", tag, { href: this.form.dataset.tags + encodeURIComponent(tag) }));
      });
    } else if (status === -1) {
      said.textContent = "It was cancelled; no tag was changed.";
    } else {
      said.textContent = answer?.detail ?? "The connection broke before the registry had answered: try again.";
    }
    this.result.replaceChildren(said);
  }
}

for (const form of document.querySelectorAll("form[data-upload]")) new Upload(form);
