// Checks the words: every language has every key, no more, with the same {names}; every key that the pages use is there, and none is left over. Keys that are put together
// are checked against what they are made of: enums against the schema, domains against the roster of daemons, reasons against the code that gives them.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const src = join(dirname(dirname(fileURLToPath(import.meta.url))), "src");
const findings = [];

/** The keys and words of a language. */
function words(locale) {
  const text = [`${locale}.ts`, join("reasons", `${locale}.ts`)].map((file) => readFileSync(join(src, "lib", "messages", file), "utf8")).join("\n");
  const found = new Map();
  for (const [, key, value] of text.matchAll(/^ {2}"([\w.-]+)":\s*"((?:[^"\\]|\\.)*)",$/gm)) {
    if (found.has(key)) findings.push(`${locale}: ${key} is there twice`);
    found.set(key, value);
  }
  return found;
}
const names = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort().join();

const en = words("en");
for (const file of readdirSync(join(src, "lib", "messages", "reasons"))) {
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

/** All files below a folder whose names fit, as one text. */
const all = (folder, wanted) =>
  readdirSync(folder, { recursive: true })
    .filter((file) => wanted(file.replaceAll("\\", "/")))
    .map((file) => readFileSync(join(folder, file), "utf8"))
    .join("\n");
const root = join(src, "..", "..");

// Enums, by the names that protoc-gen-es gives their values.
const enums = new Map();
for (const [, name, body] of all(join(src, "gen"), (file) => file.endsWith(".ts")).matchAll(/^export enum (\w+) \{\n([^]*?)^\}/gm)) {
  enums.set(name, [...body.matchAll(/^ {2}(\w+) = (\d+),$/gm)].map(([, value, number]) => ({ value, number: Number(number) })));
}
/** What the pages ask for, from lists of their own: not all that could be. */
const ASKED = new Set(["chassisAction", "chassisActionAbout", "bmcAction", "bmcActionAbout", "hostActionAbout"]);
for (const [prefix, name] of new Map([...sources.matchAll(/\blabel\(\s*"(\w+)",\s*(\w+)/g)].map(([, prefix, name]) => [prefix, name]))) {
  const values = enums.get(name);
  if (!values) findings.push(`schema: no enum ${name} for ${prefix}.*`);
  // Zero is what nobody says.
  for (const { value, number } of ASKED.has(prefix) ? [] : (values ?? [])) if (number !== 0 && !en.has(`${prefix}.${value}`)) findings.push(`en: ${prefix}.${value} is missing (enum ${name})`);
  for (const key of en.keys()) if (key.startsWith(`${prefix}.`) && values && !values.some(({ value }) => key === `${prefix}.${value}`)) findings.push(`en: ${key} is no value of ${name}`);
}

// Domains of events, and whether one can filter for them.
const domains = new Set([...all(join(root, "crates", "roster", "src"), (file) => file.endsWith(".rs")).matchAll(/\bevents: &\[([^\]]*)\]/g)].flatMap(([, list]) => [...list.matchAll(/"(\w+)"/g)].map(([, name]) => name)));
const offered = new Set([.../const DOMAINS = \[([^\]]*)\]/.exec(readFileSync(join(src, "pages", "Events.svelte"), "utf8"))?.[1].matchAll(/"(\w+)"/g) ?? []].map(([, name]) => name));
if (domains.size < 10) findings.push("roster: the domains of events are not found");
for (const domain of domains) {
  if (!en.has(`domain.${domain}`)) findings.push(`en: domain.${domain} is missing`);
  if (!offered.has(domain)) findings.push(`Events: one cannot filter for ${domain}`);
}
for (const key of en.keys()) if (key.startsWith("domain.") && !domains.has(key.slice(7))) findings.push(`en: ${key} is nobody's domain`);

// Reasons: what a call is refused with, and what an operation ends with.
const code = ["crates", "services"].map((folder) => all(join(root, folder), (file) => file.endsWith(".rs") && !/(^|\/)(tests?|benches)(\/|\.rs$)/.test(file))).join("\n");
const given = new Set([...code.matchAll(/\bwith_reason\(\s*"(\w+)"/g)].map(([, reason]) => reason));
/** Of ways in that are none of the pages', of what no page asks for, of a test; a wrong password has words of its own. */
const ELSEWHERE = new Set(["FIELD_MASK", "PAGE_TOKEN", "INVALID_CREDENTIALS", "INVALID_TOKEN", "X"]);
if (given.size < 30) findings.push("code: the reasons are not found");
for (const reason of given) if (!en.has(`reason.${reason}`) && !ELSEWHERE.has(reason)) findings.push(`en: reason.${reason} is missing`);
for (const reason of ELSEWHERE) if (en.has(`reason.${reason}`) || !given.has(reason)) findings.push(`messages.mjs: ${reason} need not be left out`);
const known = new Set([...code.matchAll(/"([A-Z][A-Z0-9_]+)"/g), ...sources.matchAll(/reason: "([A-Z_]+)"/g)].map(([, word]) => word));
for (const key of en.keys()) {
  const reason = key.startsWith("reason.") ? key.slice(7) : undefined;
  if (reason && !known.has(reason)) findings.push(`en: nobody gives ${key}`);
}

// Why a password is refused: told in English by the code, and by these texts known again.
const weak = new Set([...readFileSync(join(root, "crates", "auth", "src", "password.rs"), "utf8").matchAll(/#\[error\("(the password [^"]*)"\)\]/g)].map(([, said]) => said));
const again = new Set([...sources.matchAll(/\["(the password [^"]*)", "password\.weak\w+"\]/g)].map(([, said]) => said));
if (weak.size < 5) findings.push("code: what is said of weak passwords is not found");
for (const said of weak) if (!again.has(said)) findings.push(`act: "${said}" has no words`);
for (const said of again) if (!weak.has(said)) findings.push(`act: nobody says "${said}"`);

for (const finding of findings) console.log(finding);
console.log(`messages: ${en.size} keys, ${findings.length} findings`);
process.exit(findings.length ? 1 : 0);
