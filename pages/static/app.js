// What every page needs of the browser and NiceGUI does not offer: copying, scrolling, the connection, the theme.

// navigator.clipboard is missing on plain http, as in a local network.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "sr-only" });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  await copyText(button.dataset.text ?? button.closest(".code").querySelector("code").textContent);
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = label), 1500);
});

// The conversation runs from the bottom up: 0 is the latest, older parts are negative.
document.addEventListener(
  "scroll",
  ({ target }) => {
    if (target.classList?.contains("scroller"))
      target.parentElement.classList.toggle("away", target.scrollTop < -120);
  },
  { capture: true, passive: true },
);

// NiceGUI makes its socket when it mounts the page.
const waiting = setInterval(() => {
  if (!window.socket) return;
  clearInterval(waiting);
  showTheme();
  window.socket.on("connect", () => showConnection("online"));
  window.socket.on("disconnect", () => {
    showConnection("offline");
    leaveIfSignedOut();
  });
  window.socket.on("connect_error", leaveIfSignedOut);
}, 50);

function showConnection(state) {
  document.body.dataset.connection = state;
  dispatchEvent(new Event("connection"));
}

// Signed out in another tab, or the session has ended: waiting would not help.
async function leaveIfSignedOut() {
  const reply = await fetch("/api/v1/sessions").catch(() => null);
  if (reply?.status === 401) location.reload();
}

function chooseTheme(theme) {
  localStorage.setItem("theme", theme);
  showTheme();
}

function showTheme() {
  const theme = localStorage.getItem("theme") ?? "system";
  document.documentElement.dataset.theme = theme;
  Quasar.Dark.set({ dark: true, light: false }[theme] ?? "auto");
  for (const input of document.querySelectorAll("input[name=theme]")) input.checked = input.value === theme;
}
window.addEventListener("storage", ({ key }) => key === "theme" && showTheme());
