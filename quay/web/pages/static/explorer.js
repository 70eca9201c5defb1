// The API explorer: Swagger UI over this registry's OpenAPI document. Whoever has a session is the one who calls.
"use strict";

const CHANGES = ["POST", "PUT", "DELETE", "PATCH"];

async function withCsrfToken(request) {
  const method = (request.method || "GET").toUpperCase();
  if (CHANGES.includes(method) && new URL(request.url, location.href).origin === location.origin) {
    const answer = await fetch("/csrf_token", { credentials: "same-origin" });
    const { csrf_token: token } = await answer.json();
    if (token) request.headers["X-CSRF-Token"] = token;
  }
  return request;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: "/api/v1/discovery/openapi?internal=true",
  dom_id: "#explorer",
  docExpansion: "none",
  deepLinking: true,
  filter: true,
  tagsSorter: "alpha",
  displayOperationId: true,
  defaultModelsExpandDepth: 0,
  oauth2RedirectUrl: `${location.origin}/api-explorer/oauth2-redirect.html`,
  requestInterceptor: withCsrfToken,
});
