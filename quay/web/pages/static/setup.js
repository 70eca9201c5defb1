// What scripts add to the setup: a file chosen from the disk goes into the text field above it.

for (const area of document.querySelectorAll("textarea[data-file]")) {
  const chooser = document.createElement("input");
  chooser.type = "file";
  chooser.accept = ".pem,.crt,.cer,.key";
  chooser.setAttribute("aria-label", `Take a file: ${area.labels[0].textContent}`);
  chooser.addEventListener("change", async () => {
    if (chooser.files[0]) area.value = await chooser.files[0].text();
  });
  area.insertAdjacentElement("afterend", chooser);
}
