// Checks the words: every language has every key, no more, with the same {names}; every key that the pages use is there, and none is left over.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const src = join(dirname(dirname(fileURLToPath(import.meta.url))), "src");
const findings = [];

/** The keys and words of a language. */
function words(locale) {
  const text = readFileSync(join(src, "lib", "messages", `${locale}.ts`), "utf8");
  const found = new Map();
  for (const [, key, value] of text.matchAll(/^ {2}"([\w.-]+)":\s*"((?:[^"\\]|\\.)*)",$/gm)) {
    if (found.has(key)) findings.push(`${locale}: ${key} is there twice`);
    found.set(key, value);
  }
  return found;
}
const names = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort().join();

const en = words("en");
for (const file of readdirSync(join(src, "lib", "messages"))) {
  const locale = file.replace(".ts", "");
  if (locale === "en") continue;
  const other = words(locale);
  for (const [key, text] of en) {
    if (!other.has(key)) findings.push(`${locale}: ${key} is missing`);
    else if (names(other.get(key)) !== names(text)) findings.push(`${locale}: ${key} has other {names}`);
    else if (text && !other.get(key)) findings.push(`${locale}: ${key} is empty`);
  }
  for (const key of other.keys()) if (!en.has(key)) findings.push(`${locale}: ${key} is not in English`);
}

const sources = readdirSync(src, { recursive: true })
  .filter((file) => /\.(svelte|ts)$/.test(file) && !/^(gen|lib\/messages)/.test(file))
  .map((file) => readFileSync(join(src, file), "utf8"))
  .join("\n");
for (const [, key] of sources.matchAll(/\bt\(\s*"([\w.-]+)"/g)) if (!en.has(key)) findings.push(`en: ${key} is used and missing`);
// Keys that are put together from the name of an enum's value.
const built = new Set([...sources.matchAll(/label\(\s*"(\w+)"/g), ...sources.matchAll(/[`"](\w+)\.\$\{/g)].map((match) => match[1]));
for (const key of en.keys()) {
  if (!built.has(key.split(".")[0]) && !sources.includes(`"${key}"`)) findings.push(`en: nothing uses ${key}`);
}

for (const finding of findings) console.log(finding);
console.log(`messages: ${en.size} keys, ${findings.length} findings`);
process.exit(findings.length ? 1 : 0);
