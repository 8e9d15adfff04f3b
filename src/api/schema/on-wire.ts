/** Schemas of what is in camel case in the daemon, with the names on the wire. */
import { z } from "@hono/zod-openapi";

import { type OnWire, wireNameOf } from "../../sandbox/wire-names.ts";

export type OnWireSchema<S extends z.ZodType> = z.ZodType<OnWire<z.output<S>>, OnWire<z.input<S>>>;

const plain = [z.ZodString, z.ZodNumber, z.ZodBoolean, z.ZodEnum, z.ZodRecord];
const known = new WeakMap<z.ZodType, z.ZodType>();

/**
 * The same schema with its names on the wire, all the way down. `component` is its name in the OpenAPI document, also where it is
 * found inside another one later.
 */
export function onWire<S extends z.ZodType>(schema: S, component?: string): OnWireSchema<S> {
  const translated = known.get(schema) ?? described(translate(schema), schema.description);
  const named = component === undefined ? translated : translated.openapi(component);
  known.set(schema, named);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `translate` does to the schema what `OnWire` does to its type
  return named as OnWireSchema<S>;
}

/** A schema without fields inside is the same on the wire. Of one that may have some, this must know where they are. */
function translate(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodObject) {
    const fields = Object.entries(schema.shape).map(([field, held]) => [wireNameOf(field), inside(held)]);
    return changed(schema, { shape: Object.fromEntries(fields) });
  }
  if (schema instanceof z.ZodArray) return changed(schema, { element: inside(schema.element) });
  if (schema instanceof z.ZodUnion) return changed(schema, { options: schema.options.map(inside) });
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodDefault) {
    return changed(schema, { innerType: inside(schema.unwrap()) });
  }
  if (plain.some((kind) => schema instanceof kind)) return schema;
  throw new TypeError(`no schema on the wire of ${schema.type}`);
}

function described(schema: z.ZodType, words: string | undefined): z.ZodType {
  return words === undefined || schema.description === words ? schema : schema.describe(words);
}

function inside(schema: unknown): z.ZodType {
  if (!(schema instanceof z.ZodType)) throw new TypeError("a field without a schema");
  return onWire(schema);
}

/** With its limits, and whether it takes unknown fields. */
function changed(schema: z.ZodType, part: object): z.ZodType {
  return schema.clone({ ...schema.def, ...part });
}
