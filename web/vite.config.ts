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

/**
 * The schema's descriptors as bytes in a text instead of as base64, in which the same name is written in three ways: packed they are a third smaller. A version of
 * protobuf-es that reads them otherwise does not build.
 */
const descriptors: Plugin = {
  name: "descriptors-as-bytes",
  apply: "build",
  // After the types are gone.
  enforce: "post",
  transform(code, id) {
    if (id.endsWith("/codegenv2/file.js")) {
      const reads = code.replace("base64Decode(b64)", "Uint8Array.from(b64, (c) => c.charCodeAt(0))");
      if (reads === code) this.error("protobuf-es reads descriptors in another way than it did");
      return { code: reads, map: null };
    }
    if (!/_pb\.(ts|js)$/.test(id)) return null;
    let count = 0;
    const bytes = code.replace(/\bfileDesc\(\s*"([A-Za-z0-9+/=]+)"/g, (_, base64: string) => ((count += 1), `fileDesc(${JSON.stringify(Buffer.from(base64, "base64").toString("latin1"))}`));
    if (count !== (code.match(/\bfileDesc\(/g)?.length ?? 0)) this.error(`${id} has a descriptor in another form`);
    return { code: bytes, map: null };
  },
};

/**
 * noVNC's own logins, of which a screen's channel asks for none: who opens it has logged in to the BMC. Their ciphers are a tenth of the viewer. A version that has
 * them elsewhere does not build.
 */
const logins: Plugin = {
  name: "novnc-without-logins",
  apply: "build",
  load(id) {
    if (/\/@novnc\/novnc\/core\/(ra2|crypto\/crypto)\.js$/.test(id)) return "export default undefined;";
    if (/\/@novnc\/novnc\/core\/crypto\//.test(id)) this.error(`noVNC has ciphers in another place: ${id}`);
    return null;
  },
};

export default defineConfig({
  plugins: [svelte(), xterm, logins, descriptors],
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
            { name: "core", test: /node_modules|src\/(lib(?!\/messages)|gen)|src\/ui\/(?!Chart|Palette|Shortcuts|NewPassword|FanMap|BootOverride|Ipmi|Switch)/, priority: 1 },
          ],
        },
      },
    },
  },
  server: {
    proxy: { "/api": proxy, "/ui": proxy, "/schema.v1alpha1.": proxy, "/healthz": proxy, "/readyz": proxy },
  },
});
