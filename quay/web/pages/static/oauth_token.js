// The answer came in the fragment, which no server sees: show it, and take it out of the address and the history.
const answer = new URLSearchParams(location.hash.slice(1));
if (answer.get("access_token")) {
  document.getElementById("token").textContent = answer.get("access_token");
  history.replaceState(null, "", location.pathname + location.search);
} else if (answer.get("error")) {
  document.querySelector("[data-granted]").hidden = true;
  document.querySelector("[data-refused]").hidden = false;
}
