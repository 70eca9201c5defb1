// What scripts add to an upload: a place to drop a file, how far it is, and a way to stop it.

import { Dropping, element, size, sofar } from "./dropping.js";

class Upload extends Dropping {
  constructor(form) {
    super(form, "button.first");
  }

  taken([first]) {
    const chosen = new DataTransfer();
    chosen.items.add(first);
    return chosen.files;
  }

  chosen() {
    const file = this.input.files[0];
    if (file) this.show(file.name, size(file.size));
    else this.show("Drop a file here", "or choose one");
  }

  begin(event) {
    event.preventDefault();
    const file = this.input.files[0];
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

  sent(sent, seconds) {
    const { loaded, total } = sent;
    this.tell(loaded / total, loaded < total ? sofar(sent, seconds) : "All is sent; the tags are being made.");
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
