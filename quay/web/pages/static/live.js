// Keeps jobs on a page up to date, each from the stream that it names; when one has ended, the page is loaded anew.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

function size(bytes) {
  let unit = 0;
  while (bytes >= 1024 && unit < UNITS.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${bytes.toFixed(unit ? 1 : 0)} ${UNITS[unit]}`;
}

function span(seconds) {
  const [length, word] = seconds >= 3600 ? [3600, "hour"] : seconds >= 60 ? [60, "minute"] : [1, "second"];
  const count = Math.floor(seconds / length);
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function show(place, job) {
  const part = (name) => place.querySelector(`[data-${name}]`);
  const counted = (number) => (job.unit === "bytes" ? size(number) : String(number));
  const bar = part("progress");
  if (job.total) {
    bar.max = job.total;
    bar.value = Math.min(job.done, job.total);
  }
  part("state").textContent = job.stopping ? "stopping" : job.state;
  part("counted").textContent =
    counted(job.done) + (job.unit === "bytes" ? "" : " blobs") + (job.total ? ` of ${counted(job.total)}` : "");
  part("remaining").textContent = job.remaining_s === null ? "" : `, about ${span(job.remaining_s)} to go`;
  const log = part("log");
  if (log === null) return;
  const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.textContent = job.log || "Nothing has been said yet.";
  if (follows) log.scrollTop = log.scrollHeight;
}

for (const place of document.querySelectorAll("[data-live]")) {
  const stream = new EventSource(place.dataset.live);
  stream.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    show(place, job);
    if (!["waiting", "running"].includes(job.state)) {
      stream.close();
      location.reload();
    }
  });
}
