/**
 * A sandbox's fields are in camel case here and in the SDK, and in snake case on the wire: what is derived of that, for values
 * and for types, in both directions.
 */

/** Where the name on the wire is not just the snake case of the field's. */
const irregular = {
  type: "sandbox_type",
  backend: "backend_type",
  memoryBytes: "memory",
  diskBytes: "disk",
  env: "env_vars",
  uptimeSeconds: "uptime_secs",
  memoryUsageBytes: "memory_usage",
  privateBytes: "private",
  proportionalBytes: "proportional",
} as const;

/** Fields whose own keys are users' words. */
const keyedByUsers: ReadonlySet<string> = new Set(["env", "labels"]);

const fieldsByWireName: ReadonlyMap<string, string> = new Map(
  Object.entries(irregular).map(([field, wireName]) => [wireName, field]),
);

/** `workingDirectory` → `working_directory` */
type Snake<Name extends string> = Name extends `${infer Head}${infer Tail}`
  ? `${Lowercase<Head>}${Tail extends Uncapitalize<Tail> ? "" : "_"}${Snake<Tail>}`
  : Name;

export type WireName<Field> = Field extends keyof typeof irregular
  ? (typeof irregular)[Field]
  : Field extends string
    ? Snake<Field>
    : Field;

/** The same with the names on the wire, all the way down. */
export type OnWire<T> = T extends readonly (infer Element)[]
  ? OnWire<Element>[]
  : T extends object
    ? string extends keyof T
      ? T
      : { [Field in keyof T as WireName<Field>]: OnWire<T[Field]> }
    : T;

export function wireNameOf(field: string): string {
  const names: Readonly<Record<string, string>> = irregular;
  return Object.hasOwn(names, field) ? (names[field] ?? field) : field.replaceAll(/[A-Z]/g, snake);
}

function snake(capital: string): string {
  return `_${capital.toLowerCase()}`;
}

/** What no field is called on the wire keeps its name: it must not be taken for one that is. */
function fieldOf(wireName: string): string {
  const field = fieldsByWireName.get(wireName) ?? wireName.replaceAll(/_[a-z]/g, camel);
  return wireNameOf(field) === wireName ? field : wireName;
}

function camel(part: string): string {
  return part.slice(1).toUpperCase();
}

/** `{workingDirectory: "/"}` → `{working_directory: "/"}` */
export function toWire<T>(value: T): OnWire<T> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `renamed` does to the value what `OnWire` does to its type
  return renamed(value, wireNameOf, (field) => field) as OnWire<T>;
}

/** The other way. What the types know of fields must be true of `document`: names alone are changed. */
export function fromWire<T>(document: OnWire<T>): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the names are those of `T` again
  return renamed(document, fieldOf, fieldOf) as T;
}

function renamed(
  value: unknown,
  rename: (key: string) => string,
  fieldNameOf: (key: string) => string,
): unknown {
  if (Array.isArray(value)) return value.map((element) => renamed(element, rename, fieldNameOf));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, held]) => held !== undefined)
      .map(([key, held]) => [
        rename(key),
        keyedByUsers.has(fieldNameOf(key)) ? held : renamed(held, rename, fieldNameOf),
      ]),
  );
}
