// Runs before the first paint: light or dark, as chosen here, or else as the system has it.
try {
  const chosen = localStorage.getItem("portcullis.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage, no choice.
}
export {};
