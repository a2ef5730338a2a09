// Light or dark: as the system says, unless a person chose. Loaded in the head, before anything is drawn.

const KEY = "hepswitch.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

const kept = localStorage.getItem(KEY);
if (kept === "light" || kept === "dark") root.dataset.theme = kept;

/** "light" or "dark": what is shown now. */
export const theme = () => root.dataset.theme ?? (system.matches ? "dark" : "light");

/** The other one. Choosing what the system says is choosing nothing. */
export function toggleTheme() {
  const other = theme() === "dark" ? "light" : "dark";
  if (other === (system.matches ? "dark" : "light")) {
    delete root.dataset.theme;
    localStorage.removeItem(KEY);
  } else {
    root.dataset.theme = other;
    localStorage.setItem(KEY, other);
  }
}
