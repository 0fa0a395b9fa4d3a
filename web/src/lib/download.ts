// Files made in the browser: what is shown, to take away.

type Row = Record<string, string | number | boolean>;

/** A cell as RFC 4180 has it. What a spreadsheet would take for a formula is kept from being one. */
function cell(value: string | number | boolean): string {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The rows as a CSV document (RFC 4180), the names of the columns first. */
export function csv(rows: Row[]): string {
  const columns = Object.keys(rows[0] ?? {});
  return [columns, ...rows.map((row) => columns.map((name) => row[name] ?? ""))].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Saves rows as a file, named for the BMC and the day. */
export function save(name: string, kind: "csv" | "json", rows: Row[]): void {
  const [text, type] = kind === "csv" ? [csv(rows), "text/csv"] : [JSON.stringify(rows, null, 2), "application/json"];
  saveText(name, kind, type, text);
}

/** Saves a text, named in the same way. */
export function saveText(name: string, ending: string, type: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `${location.hostname}-${name}-${new Date().toISOString().slice(0, 10)}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
