/** Parameters that several routes share. */
import { z } from "@hono/zod-openapi";

/** Id, unique prefix of one, slug or name. */
export const sandboxParams = z.object({ id: z.string() });

/** A yes or no in a query. */
export const flag = z
  .enum(["true", "false", "1", "0", ""])
  .transform((text) => text === "true" || text === "1")
  .openapi({ type: "boolean" });

/** A number in a query, within bounds. */
export function wholeNumber(minimum: number, maximum: number): z.ZodType<number> {
  return z.coerce.number().int().min(minimum).max(maximum);
}
