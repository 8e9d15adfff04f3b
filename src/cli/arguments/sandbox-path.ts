import { malformed } from "./malformed.ts";

/** One side of `cp`: a path here, `-` for stdin or stdout, or a path in a sandbox. */
export type CopySide =
  | { readonly kind: "local"; readonly path: string }
  | { readonly kind: "stream" }
  | { readonly kind: "sandbox"; readonly reference: string; readonly path: string };

/** `ID:PATH` is in a sandbox, unless it begins like a path (`./a:b`). */
export function parseCopySide(text: string): CopySide {
  if (text === "-") return { kind: "stream" };
  if (text === "") {
    throw malformed("path", text, "a path", "a path here, or ID:PATH", [
      "./data.csv",
      "my-sandbox:/workspace",
    ]);
  }
  const match = /^([^/:.][^/:]*):(.*)$/s.exec(text);
  const [, reference, path] = match ?? [];
  if (reference === undefined || path === undefined) return { kind: "local", path: text };
  return { kind: "sandbox", reference, path };
}
