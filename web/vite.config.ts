import { svelte } from "@sveltejs/vite-plugin-svelte";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin, type ProxyOptions } from "vite";

// Where a running suite serves; `cargo xtask web dev` sets it.
const bmc = process.env.UBMC_WEB_PROXY ?? "https://127.0.0.1:8443";
const version = /^version = "(.+)"$/m.exec(readFileSync("../Cargo.toml", "utf8"))?.[1] ?? "";

const proxy: ProxyOptions = {
  target: bmc,
  // The certificate is one that the BMC made for itself.
  secure: false,
  changeOrigin: true,
  // The BMC refuses writes for pages of other origins, and hands its cookie to pages of its own.
  headers: { origin: bmc },
  // A stream's head counts before its first message.
  configure: (server) => void server.on("proxyRes", (_answer, _request, response) => setImmediate(() => response.flushHeaders())),
};

/**
 * xterm.js puts styles into the page as text, which the pages' policy forbids: three elements `<style>` and one attribute. Here they become style sheets and
 * properties, which are none. A version that does so elsewhere does not build.
 */
const xterm: Plugin = {
  name: "xterm-without-inline-styles",
  apply: "build",
  transform(code, id) {
    if (!id.endsWith("/@xterm/xterm/lib/xterm.mjs")) return null;
    let count = 0;
    const elements = /(?:[\w$]+\.)+createElement\("style"\)/g;
    const attribute = /(?<=_addStyle\((\w+),(\w+)\)\{)\1\.setAttribute\("style",`[^`]*`\)/g;
    const without = code
      .replace(elements, () => ((count += 1), "sheetOfOurs()"))
      .replace(attribute, (_, element: string, style: string) => ((count += 1), `${element}.style.cssText+=${style}+";"`));
    if (count !== 4 || without.includes('("style"')) this.error("xterm.js makes styles in other places than it did");
    const sheet = JSON.stringify(fileURLToPath(new URL("src/terminal/sheet.ts", import.meta.url)));
    return { code: `import { sheet as sheetOfOurs } from ${sheet};${without}`, map: null };
  },
};

export default defineConfig({
  plugins: [svelte(), xterm],
  define: { __VERSION__: JSON.stringify(version) },
  build: {
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    license: { fileName: "licenses.json" },
    rolldownOptions: {
      output: {
        // What every page needs in one file: each request costs the BMC more than some bytes that are not needed yet.
        codeSplitting: {
          groups: [
            { name: "terminal", test: /node_modules\/@xterm|src\/terminal/, priority: 2 },
            { name: "viewer", test: /node_modules\/@novnc|src\/viewer/, priority: 2 },
            { name: "chart", test: /node_modules\/uplot/, priority: 2 },
            { name: "core", test: /node_modules|src\/(lib(?!\/messages)|gen)|src\/ui\/(?!Chart|Palette|Shortcuts|NewPassword|StillHere|FanMap|BootOverride)/, priority: 1 },
          ],
        },
      },
    },
  },
  server: {
    proxy: { "/api": proxy, "/ui": proxy, "/schema.v1alpha1.": proxy, "/healthz": proxy, "/readyz": proxy },
  },
});
