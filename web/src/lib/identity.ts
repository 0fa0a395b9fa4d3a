// Which BMC this is, told by a colour in the tab and on the page: several are open side by side.

/** A hue of its own for a name; the same each time. */
function hue(name: string): number {
  let hash = 2166136261;
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0)!, 16777619);
  return (hash >>> 0) % 360;
}

/** Colours page and tab for the BMC of this name. */
export function colour(name: string): void {
  const color = `hsl(${hue(name)} 55% 42%)`;
  document.documentElement.style.setProperty("--bmc-color", color);
  const picture = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect x="2" y="6" width="28" height="20" rx="4" fill="${color}"/><rect x="7" y="11" width="10" height="10" rx="2" fill="#fff"/><circle cx="24" cy="12.5" r="2" fill="#fff"/></svg>`;
  const icon = document.querySelector<HTMLLinkElement>("link[rel=icon]");
  if (icon) icon.href = `data:image/svg+xml,${encodeURIComponent(picture)}`;
}
