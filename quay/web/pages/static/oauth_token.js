// The token came in the fragment, which no server sees: show it, and take it out of the address and the history.
const token = new URLSearchParams(location.hash.slice(1)).get("access_token");
if (token) {
  document.getElementById("token").textContent = token;
  history.replaceState(null, "", location.pathname + location.search);
}
