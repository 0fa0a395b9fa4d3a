// What `<style>` is to xterm.js, under a policy that lets no style stand in a page (`style-src 'self'`): a style sheet that a script makes as such, which is no text
// that somebody could have put into the page (CSSOM). `vite.config.ts` puts it in its place.

/** An element whose text is a style sheet of the document's own, for as long as it is there. */
export function sheet(): HTMLElement {
  const element = document.createElement("span");
  const sheet = new CSSStyleSheet();
  let text = "";
  element.hidden = true;
  document.adoptedStyleSheets.push(sheet);
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (value: string) => {
      text = value;
      sheet.replaceSync(value);
    },
  });
  element.remove = () => {
    Element.prototype.remove.call(element);
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
  };
  return element;
}
