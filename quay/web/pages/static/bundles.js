// What scripts add to the pages of bundles: volumes that are dropped go up one after the other, and what went up already
// does not go again.

import { Dropping, element, size, sofar } from "./dropping.js";

class Bringing extends Dropping {
  constructor(form) {
    super(form, ".actions button");
    this.have = new Set((form.dataset.have ?? "").split(" "));
  }

  chosen() {
    const files = [...this.input.files];
    const [first] = files;
    const sum = files.reduce((all, file) => all + file.size, 0);
    const name = files.length > 1 ? `${files.length} files` : first?.name;
    this.show(name ?? "Drop files here", first ? size(sum) : "or choose them");
  }

  async begin(event) {
    event.preventDefault();
    const files = [...this.input.files];
    if (!files.length || this.request) return;
    this.busy(true);
    try {
      const next = await this.sendAll(files);
      this.request = null;
      if (next) window.location.assign(next);
    } catch (error) {
      this.result.replaceChildren(element("p", error.message, { className: "flash wrong" }));
    }
    this.request = null;
    this.busy(false);
  }

  async sendAll(files) {
    if (this.form.dataset.receipt) {
      await this.send("PUT", `${this.form.dataset.receipt}/${encodeURIComponent(this.form.elements.called.value)}`, files[0]);
      return window.location.href;
    }
    const { bundle } = this.form.dataset;
    this.uuid ??= this.form.dataset.uuid ?? (await this.send("POST", `${bundle}/incoming`)).uuid;
    for (const file of files) {
      if (this.have.has(file.name)) continue;
      await this.send("PUT", `${bundle}/${this.uuid}/volumes/${encodeURIComponent(file.name)}`, file);
      this.have.add(file.name);
    }
    return `/superuser/bundles/${this.uuid}`;
  }

  send(method, address, file = null) {
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      request.open(method, address);
      request.setRequestHeader("X-CSRF-Token", this.form.dataset.csrf);
      if (file) request.setRequestHeader("Content-Type", "application/octet-stream");
      request.responseType = "json";
      const began = performance.now();
      request.upload.addEventListener("progress", (sent) => this.sent(file, sent, (performance.now() - began) / 1000));
      request.addEventListener("load", () =>
        request.status < 300
          ? resolve(request.response)
          : reject(new Error(request.response?.detail ?? "The registry did not take it: try again.")),
      );
      request.addEventListener("error", () => reject(new Error("The connection broke: upload again, and it goes on.")));
      request.addEventListener("abort", () => reject(new Error("It was cancelled; upload again, and it goes on.")));
      request.send(file);
    });
  }

  sent(file, sent, seconds) {
    this.tell(sent.loaded / sent.total, `${file?.name ?? ""}: ${sofar(sent, seconds)}`);
  }
}

for (const form of document.querySelectorAll("form[data-bundle], form[data-receipt]")) new Bringing(form);
