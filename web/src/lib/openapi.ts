// The API as the BMC describes it: all operations by name, or one service whole.
import { LONG } from "./api";

export interface Schema {
  $ref?: string;
  type?: string | string[];
  properties?: Record<string, Schema>;
  items?: Schema;
  enum?: string[];
}
export interface Operation {
  operationId: string;
  description: string;
  "x-privilege": string;
  /** From here on of a service alone. */
  parameters?: { name: string; in: string; required?: boolean; schema?: Schema; "x-field"?: string }[];
  requestBody?: { content?: Record<string, { schema?: Schema }> };
  responses?: Record<string, { content?: Record<string, unknown> }>;
}
export interface Document {
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, Schema> };
}

/** A part of the description: `index`, or the name of a service. */
export async function described(part: string): Promise<Document> {
  const answer = await fetch(`/api/v1alpha1/openapi.json?part=${part}`, { signal: AbortSignal.timeout(LONG) });
  // HTTP/2 has no words for a status.
  if (!answer.ok) throw new Error(answer.statusText || `HTTP ${answer.status}`);
  return (await answer.json()) as Document;
}

/** Service and name of an operation's method. Each further way to a method has a number at its end. */
export const methodOf = ({ operationId }: Operation): string[] => operationId.replace(/_\d+$/, "").split("_");
