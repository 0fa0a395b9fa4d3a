// Packs what Vite made: each file as brotli and as gzip, as small as they get, into the folder that websrv is built with.
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(web, "dist");
const packed = join(web, "packed");
for (const name of readdirSync(packed)) if (name !== ".gitignore") rmSync(join(packed, name), { recursive: true });
let files = 0;
let bytes = 0;
for (const name of readdirSync(dist, { recursive: true }).sort()) {
  const from = join(dist, name);
  if (statSync(from).isDirectory()) continue;
  const plain = readFileSync(from);
  const to = join(packed, name);
  mkdirSync(dirname(to), { recursive: true });
  const brotli = brotliCompressSync(plain, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_LGWIN]: 22,
      [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
    },
  });
  writeFileSync(`${to}.br`, brotli);
  writeFileSync(`${to}.gz`, gzipSync(plain, { level: 9 }));
  files += 1;
  bytes += brotli.length;
}
console.log(`packed: ${files} files, ${bytes} bytes as brotli`);
